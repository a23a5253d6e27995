"""The queue loses nothing and gives nothing twice, whatever is killed; and its trail shows every change."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.shapes import detect, to_example
from bloomery.review.export import export_rows
from bloomery.review.history import history
from bloomery.review.queue import Item, ReviewQueue
from bloomery.review.spec import ClassifierSpec
from bloomery.review.value import density, risk_avoided, to_items

SPEC = ClassifierSpec.model_validate({"questions": {"threat": "threat?"}})


class Clock:
    """Time that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def items(count: int) -> list[Item]:
    return [
        Item(f"r{k}", "threat", {"id": f"r{k}", "text": f"text {k}"}, ["yes", "no"], {"yes": 0.3, "no": 0.7}, float(k))
        for k in range(count)
    ]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> ReviewQueue:
    return ReviewQueue(tmp_path / "queue.sqlite", clock)


def test_spaces_around_a_name_make_no_second_person(queue: ReviewQueue) -> None:
    queue.add(items(1), people=2)
    ann = queue.next("ann")
    assert ann is not None
    queue.label(ann.fence, "yes")
    assert queue.next("ann ") is None and queue.next("bob") is not None


def test_the_most_valuable_item_comes_first_and_is_kept_for_one_person(queue: ReviewQueue) -> None:
    queue.add(items(3))
    ann, bob = queue.next("ann"), queue.next("bob")
    assert ann is not None and bob is not None
    assert (ann.item.id, bob.item.id) == ("r2", "r1")
    again = queue.next("ann")
    assert again is not None and again.fence == ann.fence
    assert stat.S_IMODE(queue.path.stat().st_mode) == 0o600


def test_a_lease_that_ended_and_went_on_cannot_be_answered(queue: ReviewQueue, clock: Clock) -> None:
    queue.add(items(1))
    ann = queue.next("ann", lease=10)
    assert ann is not None and queue.next("bob") is None
    clock.now += 11
    bob = queue.next("bob")
    assert bob is not None
    with pytest.raises(InputError, match="ended and went on"):
        queue.label(ann.fence, "yes")
    assert queue.label(bob.fence, "no") == "decided"
    assert [one.votes for one in queue.decided()] == [{"bob": "no"}]


def test_late_work_counts_while_nobody_else_has_the_item(queue: ReviewQueue, clock: Clock) -> None:
    queue.add(items(1))
    ann = queue.next("ann", lease=10)
    assert ann is not None
    clock.now += 1000
    assert queue.label(ann.fence, "yes") == "decided"


def test_the_same_answer_may_be_repeated_and_another_may_not(queue: ReviewQueue) -> None:
    queue.add(items(1))
    ann = queue.next("ann")
    assert ann is not None
    with pytest.raises(InputError, match="no label of this item"):
        queue.label(ann.fence, "yess")
    assert [queue.label(ann.fence, "yes") for _ in range(2)] == ["decided", "decided"]
    with pytest.raises(InputError, match="answered `yes` already"):
        queue.label(ann.fence, "no")
    assert queue.stats()["votes"] == 1


def test_a_third_person_settles_what_two_answer_differently(queue: ReviewQueue) -> None:
    queue.add(items(1), people=2)
    for person, label, state in (("ann", "yes", "open"), ("bob", "no", "disagreed")):
        lease = queue.next(person)
        assert lease is not None and lease.votes == {}
        assert queue.label(lease.fence, label) == state
    assert queue.next("cy") is None and queue.next("ann", disagreed=True) is None
    assert [votes for _, votes in queue.disagreements()] == [{"ann": "yes", "bob": "no"}]
    third = queue.next("cy", disagreed=True)
    assert third is not None and third.votes == {"ann": "yes", "bob": "no"}
    assert queue.label(third.fence, "no") == "decided"
    assert queue.decided()[0].answer == "no"
    assert queue.stats()["agreed"] == 0


def test_new_scores_reorder_what_is_open_and_leave_what_is_decided(queue: ReviewQueue) -> None:
    queue.add(items(2))
    lease = queue.next("ann")
    assert lease is not None
    queue.label(lease.fence, "yes")
    again = [Item(i.id, i.question, i.row, i.labels, {"yes": 0.9, "no": 0.1}, 9.0 - i.value) for i in items(2)]
    assert queue.add(again) == 0
    assert queue.decided()[0].item.scores == {"yes": 0.3, "no": 0.7}
    rest = queue.next("bob")
    assert rest is not None and rest.item.value == 9.0


def test_a_bad_item_leaves_nothing_of_its_batch(queue: ReviewQueue) -> None:
    bad = items(2)
    bad[1] = Item("x", "threat", {}, ["yes", "no"], {}, float("nan"))
    with pytest.raises(InputError, match="value nan"):
        queue.add(bad)
    assert queue.stats()["items"] == {}
    assert queue.audit()[0] == 0


@pytest.mark.parametrize(
    "harm",
    [
        "update trail set body = replace(body, 'yes', 'no') where body like '%\"label\"%'",
        "delete from trail where number = 2",
        "update vote set label = 'no'",
        "update item set answer = 'no'",
    ],
)
def test_what_is_changed_behind_the_queue_is_found(queue: ReviewQueue, harm: str) -> None:
    queue.add(items(2))
    lease = queue.next("ann")
    assert lease is not None
    queue.label(lease.fence, "yes")
    count, head = queue.audit()
    assert (count, queue.audit(head)[1]) == (4, head)
    with sqlite3.connect(queue.path) as other:
        if "item" not in harm:
            with pytest.raises(sqlite3.IntegrityError):
                other.execute(harm)
        for name in ("trail_stays", "trail_keeps", "vote_stays", "vote_keeps"):
            other.execute(f"drop trigger {name}")
        other.execute(harm)
    with pytest.raises(DamagedError):
        queue.audit()


def test_a_trail_cut_at_its_end_is_found_by_a_head_noted_before(queue: ReviewQueue) -> None:
    queue.add(items(1))
    lease = queue.next("ann")
    assert lease is not None
    _, head = queue.audit()
    with sqlite3.connect(queue.path) as other:
        other.execute("drop trigger trail_keeps")
        other.execute("delete from trail where number = 2")
    assert queue.audit()[0] == 1
    with pytest.raises(DamagedError, match="cut off"):
        queue.audit(head)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be one" * 20)
    with pytest.raises(DamagedError, match="no review queue"):
        ReviewQueue(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("create table runs (name text)")
    with pytest.raises(DamagedError, match="another program"):
        ReviewQueue(tmp_path / "other")


def _work(path: Path, person: str, acknowledged: Path) -> None:
    queue = ReviewQueue(path)
    with open(acknowledged, "a", buffering=1) as file:
        while lease := queue.next(person, lease=0.5):
            try:
                queue.label(lease.fence, "yes")
            except InputError:
                continue  # the lease ended while this process waited, and another one has the item
            file.write(f"{lease.item.id}\n")


def test_processes_that_are_killed_lose_and_double_nothing(tmp_path: Path) -> None:
    """Four people answer 120 items while one of them after another is killed; every acknowledged answer is there."""
    path, count = tmp_path / "queue.sqlite", 120
    ReviewQueue(path).add(items(count))
    method = multiprocessing.get_context("spawn")
    people = [method.Process(target=_work, args=(path, f"p{k}", tmp_path / f"p{k}.log")) for k in range(4)]
    for one in people:
        one.start()
    for number, one in enumerate(people[:2]):
        log = tmp_path / f"p{number}.log"
        while one.is_alive() and not (log.is_file() and log.stat().st_size):
            time.sleep(0.01)
        one.kill()
    for one in people:
        one.join(60)
    queue = ReviewQueue(path)
    _work(path, "last", tmp_path / "last.log")
    time.sleep(0.6)  # leases of the killed end
    _work(path, "last", tmp_path / "last.log")
    said = [line for log in tmp_path.glob("*.log") for line in log.read_text().split()]
    decided = {one.item.id: one.votes for one in queue.decided()}
    assert len(said) == len(set(said))
    assert set(said) <= set(decided)
    assert len(decided) == count and all(len(votes) == 1 for votes in decided.values())
    queue.audit()


def decided(tmp_path: Path) -> list:
    queue = ReviewQueue(tmp_path / "q.sqlite")
    queue.add(items(2))
    for label in ("yes", "no"):
        lease = queue.next("ann")
        assert lease is not None
        queue.label(lease.fence, label)
    return queue.decided()


@pytest.mark.parametrize(("kind", "shape"), [("sft", "prompt"), ("preference", "preference")])
def test_exported_rows_are_of_a_shape_that_training_reads(tmp_path: Path, kind: str, shape: str) -> None:
    rows = export_rows(SPEC, decided(tmp_path), kind)
    records = [Record(row, Where("rows.jsonl", n)) for n, row in enumerate(rows, 1)]
    columns = detect(records[0], SourceSpec(path="rows.jsonl"))
    assert columns.shape == shape
    example = to_example(records[0], columns)
    assert example.messages[-1]["content"] == [{"type": "text", "text": "no"}] or "no" in str(example.messages[-1])
    assert example.example_id == "r0:threat"


def test_an_exported_row_is_explained_by_the_acts_that_led_to_it(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    queue = ReviewQueue(tmp_path / "q.sqlite", lambda: now)
    queue.add(items(2), 2)
    for person, label in (("ann", "yes"), ("bob", "no")):
        lease = queue.next(person)
        assert lease is not None and lease.item.id == "r1"
        queue.label(lease.fence, label, "names a person")
    lease = queue.next("cy", disagreed=True)
    assert lease is not None
    queue.label(lease.fence, "no")
    [row] = export_rows(SPEC, queue.decided(), "sft")
    found = history(queue, row["id"])
    assert found.answer == "no" and [act["act"] for act in found.acts] == [
        "lease", "label", "lease", "label", "disagree", "lease", "label", "decide"
    ]  # fmt: skip
    lines = str(found).splitlines()
    assert lines[0].startswith("r1:threat: `no`, decided by adjudication; the model held ")
    assert lines[2] == "2027-01-15 08:00:00 UTC  ann said `yes`: names a person" and len(lines) == 1 + 8
    assert json.loads(json.dumps(found.to_json()))["acts"][-1]["by"] == "adjudication"
    assert "no answer yet" in str(history(queue, "r0:threat")).splitlines()[0]
    with pytest.raises(InputError, match="the queue has no row `r9:threat`"):
        history(queue, "r9:threat")


def test_exported_prompts_can_be_graded(tmp_path: Path) -> None:
    from bloomery.graders.payload import Sample

    [row, _] = export_rows(SPEC, decided(tmp_path), "rl")
    answered = [*row["messages"], {"role": "assistant", "content": "no"}]
    sample = Sample(row["id"], answered, row["reference_answer"], row["metadata"])
    assert sample.payload()["reference_answer"] == sample.answer == "no"
    with pytest.raises(InputError, match="did you mean `preference`"):
        export_rows(SPEC, [], "preferences")


def test_what_a_label_is_worth_follows_costs_and_likeness() -> None:
    p = np.array([[0.5, 0.5], [0.1, 0.9], [0.0, 1.0]])
    assert risk_avoided(p, [1, 1]) == pytest.approx([0.5, 0.1, 0.0])
    assert risk_avoided(p, [9, 1])[1] == pytest.approx(0.9)
    near = density(["the cat sat", "the cat sat down", "quite other words"])
    assert near[2] < near[0]
    rows = [{"id": str(k), "text": "same words"} for k in range(3)]
    found = to_items(SPEC, rows, {"threat": p}, effort=[1, 1, 1])
    assert [item.id for item in sorted(found, key=lambda item: -item.value)] == ["0", "1", "2"]
