"""The active-learning loop: train, score the pool, queue, take the answers of people or an oracle, train again.

Every step leaves a file in `runs/NAME.loop/` and is skipped where that is there: a loop that was stopped goes on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloomery.core.errors import InputError, Where
from bloomery.core.files import read_json, write_json, write_text
from bloomery.recipes.load import Loaded, with_changes
from bloomery.recipes.start import RUNS
from bloomery.review.export import export_rows
from bloomery.review.measures import auroc, best_cut, f1, labels_until, recall_at_precision
from bloomery.review.queue import Item, ReviewQueue
from bloomery.review.spec import given_labels
from bloomery.review.value import to_items
from bloomery.studies.active_file import Loop
from bloomery.studies.active_page import to_html
from bloomery.studies.classifying import Opened, open_classifier, probabilities, read_rows, to_lines, truth_of

if TYPE_CHECKING:
    from bloomery.studies.classifying import Row

Say = Callable[[str], None]
ORACLE, QUEUE, PAGE = "oracle", "queue.sqlite", "report.html"


@dataclass(frozen=True, slots=True)
class LoopResult:
    """The rounds so far: labels given, mean F1 and AUROC, recall of new threats; and how many items wait for people.

    `folder` holds the queue and, where there are rows to measure on, the curve: `report.html`.
    """

    name: str
    folder: Path
    rounds: Sequence[dict[str, Any]]
    caught: dict[str, int | None]
    waiting: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"name": self.name, "rounds": list(self.rounds), "caught": self.caught, "waiting": self.waiting}

    def __str__(self) -> str:
        lines = [
            f"round {number}: {one['labels']:,} labels"
            + (f", F1 {one['f1']:.3f}, AUROC {one['auroc']:.3f}" if "f1" in one else "")
            for number, one in enumerate(self.rounds)
        ]
        for name, count in self.caught.items():
            lines.append(f"{name}: " + ("not caught yet" if count is None else f"caught after {count:,} labels"))
        if self.waiting:
            queue = self.folder / QUEUE
            lines.append(f"{self.waiting:,} items wait for people: bloomery review work {queue} --person NAME")
            lines.append("then call this again")
        elif (page := self.folder / PAGE).is_file():
            lines.append(f"curve: {page}")
        return "\n".join(lines)


def run_loop(loop: Loop, root: Path = RUNS, say: Say = lambda text: None) -> LoopResult:
    """Run what is left of a loop, or as far as people have answered.

    Raises `InputError` where a loop of that name asked for something else, and where the pool has too few rows.
    """
    folder = root / f"{loop.name}.loop"
    _same(loop, folder)
    pool = read_rows(loop.pool)
    if len(pool) * len(loop.spec.questions) < loop.file.labels:
        raise InputError(f"the pool has fewer labels than the {loop.file.labels:,} of a round", where=Where(loop.pool))
    queue = ReviewQueue(folder / QUEUE)
    try:
        for number in range(loop.file.rounds + 1):
            place = folder / f"{number:02}"
            if not (place / "asked.json").is_file():
                _ask(loop, queue, pool, place, number)
            waiting = _answer(loop, queue, pool, place)
            if waiting:
                return _result(loop, folder, waiting)
            if not (place / "measured.json").is_file():
                _train(loop, queue, place, number, root, say)
        return _result(loop, folder, 0)
    finally:
        queue.close()


def _ask(loop: Loop, queue: ReviewQueue, pool: Sequence[Row], place: Path, number: int) -> None:
    """Choose the labels of a round, put them into the queue, and note which they are."""
    earlier = [read_json(path) for path in place.parent.glob("*/asked.json")]
    taken = {tuple(key) for asked in earlier for key in asked}
    if number == 0 or loop.file.order == "random":
        even = {q: np.full((len(pool), len(loop.spec.names(q))), 0.5) for q in loop.spec.questions}
        items = to_items(loop.spec, pool, even, spread=0)
        random.Random(f"{loop.file.seed}:{number}").shuffle(items)
    else:
        scored = _scored(loop, pool, place.parent / f"{number - 1:02}")
        items = sorted(to_items(loop.spec, pool, scored), key=lambda item: -item.value)
    left = [item for item in items if (item.id, item.question) not in taken][: loop.file.labels]
    queue.add(left, loop.file.people)
    write_json(place / "asked.json", [[item.id, item.question] for item in left])


def _answer(loop: Loop, queue: ReviewQueue, pool: Sequence[Row], place: Path) -> int:
    """Let the oracle answer; how many items of the round have no answer yet."""
    asked = {tuple(key) for key in read_json(place / "asked.json")}
    if loop.file.oracle:
        rows = {row["id"]: row for row in pool}
        for person in [f"{ORACLE} {n + 1}" for n in range(loop.file.people)]:
            while lease := queue.next(person):
                queue.label(lease.fence, _told(loop, rows[lease.item.id], lease.item))
    return len(asked - {(one.item.id, one.item.question) for one in queue.decided()})


def _told(loop: Loop, row: Row, item: Item) -> str:
    known = given_labels(loop.spec, row, Where(loop.pool))
    if item.question not in known:
        raise InputError(f"row `{item.id}` of the pool has no label of `{item.question}`", fix="remove `oracle`")
    return known[item.question]


def _train(loop: Loop, queue: ReviewQueue, place: Path, number: int, root: Path, say: Say) -> None:
    """Train on all answers so far, measure, and score the pool for the next round."""
    from bloomery.recipes.run import resume, run

    rows = export_rows(loop.spec, queue.decided(), "sft")
    write_text(place / "rows.jsonl", to_lines(rows), mode=0o600)
    name = f"{loop.name}-{number:02}"
    if not (root / name / "model").is_dir():
        say(f"round {number}: {len(rows):,} labels")
        begun = (root / name / "recipe.yaml").is_file()
        changed = _on(loop.loaded, place / "rows.jsonl", name)
        done = resume(str(root / name), quiet=True) if begun else run(changed, folder=root / name, quiet=True)
        if done.status == "interrupted":
            raise KeyboardInterrupt
    opened = open_classifier(loop.spec, str(root / name))
    _save(place / "pool.json", probabilities(loop.spec, opened, read_rows(loop.pool), None))
    write_json(place / "measured.json", {"labels": len(rows)} | _measured(loop, opened))


def _on(loaded: Loaded, rows: Path, name: str) -> Loaded:
    domain = [{"path": str(rows.resolve()), "name": "labelled", "columns": {"group": "group"}}]
    kept = {"data.domain": domain, "data.holdout": 0, "name": name, "steps": ["train", "export"]}
    return with_changes(loaded, kept)


def _measured(loop: Loop, opened: Opened) -> dict[str, Any]:
    """Mean F1 (at each question's best cut on these rows) and AUROC; recall of new threats at the stated precision."""
    if loop.test is None:
        return {}
    rows = read_rows(loop.test)
    truth, p = truth_of(loop.spec, rows, loop.test), probabilities(loop.spec, opened, rows, None)
    each, caught = {}, {}
    for question in loop.spec.questions:
        known, positive = truth[question] >= 0, loop.spec.positive(question)
        said, wanted = p[question][known, positive], (truth[question][known] == positive).astype(np.float64)
        each[question] = {"f1": f1(said >= best_cut(said, wanted), wanted), "auroc": auroc(said, wanted)}
        if question in loop.file.caught:
            caught[question] = recall_at_precision(said, wanted, loop.file.precision)
    means = {name: float(np.mean([one[name] for one in each.values()])) for name in ("f1", "auroc")}
    return means | {"questions": each, "caught": caught}


def _scored(loop: Loop, pool: Sequence[Row], place: Path) -> dict[str, Any]:
    told = read_json(place / "pool.json")
    return {question: np.array(told[question]).reshape(len(pool), -1) for question in loop.spec.questions}


def _save(path: Path, p: dict[str, Any]) -> None:
    write_json(path, {question: np.round(found, 6).tolist() for question, found in p.items()}, 0o600)


def _result(loop: Loop, folder: Path, waiting: int) -> LoopResult:
    found = [read_json(path) for path in sorted(folder.glob("*/measured.json"))]
    counts = [one["labels"] for one in found]
    caught = {
        question: labels_until(counts, [one["caught"][question] for one in found], target)
        for question, target in loop.file.caught.items()
    }
    if loop.test is not None and found:
        write_text(folder / PAGE, to_html(loop.name, found))
    return LoopResult(loop.name, folder, found, caught, waiting)


def _same(loop: Loop, folder: Path) -> None:
    """The loop file is kept beside its rounds, whose answers belong to it."""
    kept = folder / "loop.yaml"
    if kept.is_file() and kept.read_text("utf-8") != loop.asked:
        message = f"a loop `{loop.name}` that asked for something else is there already"
        raise InputError(message, where=Where(folder), fix="give this one another `name`")
    write_text(kept, loop.asked)
