"""The review queue against a plain model of itself: whoever takes, answers, waits, dies or comes back, in any order."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from bloomery.core.errors import InputError
from bloomery.review.queue import Item, Lease, ReviewQueue

PEOPLE, QUESTIONS, LABELS = ("ann", "bob", "cy", "dee"), ("threat", "insult"), ("yes", "no")
WORKERS = 3
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where a file is synced at once; what a disk does when it is cut off is not what is tested here."""
people, labels = st.sampled_from(PEOPLE), st.sampled_from(LABELS)
questions = st.sampled_from((None, *QUESTIONS))
workers = st.integers(0, WORKERS - 1)


class Killed(Exception):
    """A process ended here."""


@dataclass
class Model:
    """One item as it should be; `leases` maps a fence to (person, end)."""

    key: tuple[str, str]
    wanted: int
    value: float
    state: str = "open"
    answer: str | None = None
    votes: dict[str, str] = field(default_factory=dict)
    leases: dict[int, tuple[str, float]] = field(default_factory=dict)

    def live(self, now: float) -> int:
        return sum(ends > now for _, ends in self.leases.values())

    def room(self, person: str, now: float) -> bool:
        """Whether one more may have it."""
        if person in self.votes or self.state == "decided":
            return False
        taken = self.live(now) + (len(self.votes) if self.state == "open" else 0)
        return taken < (self.wanted if self.state == "open" else 1)


class Queue(RuleBasedStateMachine):
    """Three processes with the file open, four people, items wanted by one or by two."""

    fences: Bundle[int] = Bundle("fences")

    @initialize(people=st.sampled_from((1, 2)))
    def begin(self, people: int) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.now = 1000.0
        self.queues = [self.opened() for _ in range(WORKERS)]
        self.items: list[Model] = []
        self.said: dict[int, tuple[Model, str]] = {}
        self.order: list[tuple[tuple[str, str], str]] = []
        self.heads: list[str] = []
        self.put(0, {0, 1}, people, False)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for queue in self.queues:
                queue.close()
            shutil.rmtree(self.folder)

    def opened(self) -> ReviewQueue:
        return ReviewQueue(self.folder / "queue.sqlite", lambda: self.now)

    @rule(worker=workers, ids=st.sets(st.integers(0, 3), min_size=1, max_size=2), high=st.booleans())
    def add(self, worker: int, ids: set[int], high: bool) -> None:
        self.put(worker, ids, 2, high)

    def put(self, worker: int, ids: set[int], people: int, high: bool) -> None:
        known = {one.key: one for one in self.items}
        given = [self.made(number, question, high) for number in sorted(ids) for question in QUESTIONS]
        fresh = [one for one in given if (one.id, one.question) not in known]
        assert self.queues[worker].add(given, people) == len(fresh)
        for one in given:
            there = known.get((one.id, one.question))
            if there is None:
                self.items.append(Model((one.id, one.question), people, one.value))
            elif there.state == "open":
                there.value = one.value

    @staticmethod
    def made(number: int, question: str, high: bool) -> Item:
        value = float(number % 3 + 10 * high)
        scores = {"yes": 0.9, "no": 0.1} if high else {"yes": 0.5, "no": 0.5}
        return Item(f"r{number}", question, {"text": str(number)}, LABELS, scores, value)

    @rule(target=fences, worker=workers, person=people, question=questions, seconds=st.sampled_from((5.0, 50.0)))
    def take_open(self, worker: int, person: str, question: str | None, seconds: float) -> Any:
        return self.take(worker, person, question, False, seconds)

    @rule(target=fences, worker=workers, person=people, seconds=st.sampled_from((5.0, 50.0)))
    def take_disagreed(self, worker: int, person: str, seconds: float) -> Any:
        return self.take(worker, person, None, True, seconds)

    @rule(worker=workers, person=people, label=labels)
    def take_and_label(self, worker: int, person: str, label: str) -> None:
        fence = self.take(worker, person, None, False, 5.0)
        if isinstance(fence, int):
            self.answer(worker, fence, label)

    def take(self, worker: int, person: str, question: str | None, disagreed: bool, seconds: float) -> Any:
        found = self.queues[worker].next(person, question=question, disagreed=disagreed, lease=seconds)
        able = [
            one
            for one in self.items
            if one.state == ("disagreed" if disagreed else "open") and question in (None, one.key[1])
        ]
        held = {
            fence: one for one in able for fence, (who, ends) in one.leases.items() if who == person and ends > self.now
        }
        free = sorted((one for one in able if one.room(person, self.now)), key=lambda one: -one.value)
        if not held and not free:
            assert found is None
            return multiple()
        assert found is not None and found.ends == self.now + seconds
        wanted = held.get(found.fence) if held else free[0]
        assert wanted is not None and (found.item.id, found.item.question) == wanted.key
        assert found.votes == (wanted.votes if disagreed else {})
        if not held:
            wanted.leases = {k: v for k, v in wanted.leases.items() if v[1] > self.now}
            assert found.fence not in self.said
        wanted.leases[found.fence] = (person, found.ends)
        return found.fence

    @rule(worker=workers, first=people, second=people, seconds=st.sampled_from((3.0, 6.0)), label=labels)
    def take_over(self, worker: int, first: str, second: str, seconds: float, label: str) -> None:
        """One falls asleep over an item, another one takes what there is, and the first comes back to answer."""
        fence = self.take(worker, first, None, False, 5.0)
        self.now += seconds
        self.take((worker + 1) % WORKERS, second, None, False, 50.0)
        if isinstance(fence, int):
            self.answer(worker, fence, label)

    @rule(worker=workers, fence=fences, label=labels)
    def label(self, worker: int, fence: int, label: str) -> None:
        self.answer(worker, fence, label)

    def answer(self, worker: int, fence: int, label: str) -> None:
        """A first answer counts, the same again changes nothing, another one and one of a lost lease are refused."""
        held = next((one for one in self.items if fence in one.leases), None)
        if fence in self.said:
            one, before = self.said[fence]
            if before == label:
                assert self.queues[worker].label(fence, label) == one.state
                return
        if fence in self.said or held is None:
            with pytest.raises(InputError):
                self.queues[worker].label(fence, label)
            return
        state = self.queues[worker].label(fence, label)
        self.voted(held, fence, label)
        assert state == held.state

    def voted(self, one: Model, fence: int, label: str) -> None:
        person, _ = one.leases.pop(fence)
        one.votes[person] = label
        self.said[fence] = (one, label)
        if one.state == "open" and len(one.votes) < one.wanted:
            return
        if one.state == "open" and len(set(one.votes.values())) > 1:
            one.state = "disagreed"
            return
        one.state, one.answer = "decided", label
        self.order.append((one.key, label))

    @rule(worker=workers, fence=fences)
    def release(self, worker: int, fence: int) -> None:
        self.queues[worker].release(fence)
        for one in self.items:
            one.leases.pop(fence, None)

    @rule(seconds=st.sampled_from((1.0, 3.0, 6.0, 60.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=workers)
    def come_back(self, worker: int) -> None:
        self.queues[worker].close()
        self.queues[worker] = self.opened()

    @rule(worker=workers, fence=fences, label=labels, person=people, at=st.integers(0, 3))
    def die(self, worker: int, fence: int, label: str, person: str, at: int) -> None:
        """Killed with everything written and nothing committed: as if it had never begun."""
        acts: list[Callable[[ReviewQueue], Any]] = [
            lambda queue: queue.label(fence, label),
            lambda queue: queue.next(person),
            lambda queue: queue.release(fence),
            lambda queue: queue.add([self.made(9, "threat", True)]),
        ]
        dying: Any = self.queues[worker]
        dying._change = lambda: _cut_off(dying)
        with contextlib.suppress(Killed, InputError):
            acts[at](dying)
        dying.close()
        self.queues[worker] = self.opened()

    @invariant()
    def everybody_sees_the_same(self) -> None:
        for queue in getattr(self, "queues", []):
            decided = {(d.item.id, d.item.question): (d.answer, d.votes, d.item.value) for d in queue.decided()}
            wanted = [one for one in self.items if one.state == "decided"]
            assert decided == {one.key: (one.answer, one.votes, one.value) for one in wanted}
            apart = {(item.id, item.question): votes for item, votes in queue.disagreements()}
            assert apart == {one.key: one.votes for one in self.items if one.state == "disagreed"}
            stats = queue.stats()
            assert stats["votes"] == sum(len(one.votes) for one in self.items) == len(self.said)
            assert stats["leased"] == sum(one.live(self.now) for one in self.items)

    @invariant()
    def nobody_is_one_too_many(self) -> None:
        for one in getattr(self, "items", []):
            assert one.live(self.now) + (len(one.votes) if one.state == "open" else 0) <= one.wanted
            holders = Counter(person for person, ends in one.leases.values() if ends > self.now)
            assert all(count == 1 for count in holders.values()) and not set(holders) & set(one.votes)

    @invariant()
    def the_trail_tells_it_all_in_order(self) -> None:
        if not hasattr(self, "queues"):
            return
        queue = self.queues[0]
        names = [one.key for one in self.items]
        acts = list(queue.acts())
        told = [(names[act["item"] - 1], act["label"]) for act in acts if act["act"] == "decide"]
        assert told == self.order
        assert [act["fence"] for act in acts if act["act"] == "label"] == list(self.said)
        count, head = queue.audit()
        assert count == len(acts)
        for before in self.heads[-3:]:
            queue.audit(before)
        self.heads.append(head)


@contextlib.contextmanager
def _cut_off(queue: Any) -> Iterator[None]:
    queue._db.execute("begin immediate")
    yield
    queue.close()  # the file of a process that is gone: what it did not commit never was
    raise Killed


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(wanted=st.sampled_from((1, 2)), opinions=st.lists(labels, min_size=4, max_size=4))
def test_at_the_same_time_nobody_has_what_another_has(wanted: int, opinions: list[str]) -> None:
    """Four threads with a connection each race for twelve items; three see to what is disagreed about."""
    held: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work(path: Path, person: str, opinion: str, disagreed: bool) -> None:
        queue = ReviewQueue(path)
        try:
            while found := queue.next(person, disagreed=disagreed):
                _answer(queue, found, opinion)
        except BaseException as error:
            failures.append(error)
        finally:
            queue.close()

    def _answer(queue: ReviewQueue, found: Lease, opinion: str) -> None:
        with lock:
            held[found.item.id] += 1
            most[found.item.id] = max(most[found.item.id], held[found.item.id])
        with lock:
            held[found.item.id] -= 1
        queue.label(found.fence, opinion)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queue.sqlite"
        queue = ReviewQueue(path)
        queue.add([Item(f"r{n}", "threat", {}, LABELS, {"yes": 0.5, "no": 0.5}, float(n)) for n in range(12)], wanted)
        for disagreed in (False, True):
            threads = [
                threading.Thread(target=work, args=(path, person, opinion, disagreed))
                for person, opinion in zip(PEOPLE, opinions, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not failures and max(most.values()) <= wanted
        decided = queue.decided()
        assert len(decided) == 12
        acts = Counter(act["act"] for act in queue.acts())
        assert acts["decide"] == 12 and acts["label"] == sum(len(one.votes) for one in decided)
        assert all(len(one.votes) in (wanted, wanted + 1) for one in decided)
        queue.audit()
        queue.close()
