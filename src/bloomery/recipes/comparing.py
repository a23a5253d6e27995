"""What a training by preferences compares with: the start's own log-probabilities, worked out before its first step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery.lineage.provenance import model_hash
from bloomery.recipes.feed import BlendSource
from bloomery.recipes.preference import COMPARING
from bloomery.recipes.prepare import Prepared

if TYPE_CHECKING:
    from bloomery.core.rows import TokenRow
    from bloomery.recipes.training import ArmRun
    from bloomery.train.trainer import Trainer

FOLDER = "reference"


def comparing(prepared: Prepared, run: ArmRun, source: BlendSource) -> Callable[[Trainer], None]:
    """What the loop does before its first step: give every row that is compared its reference.

    The reference lies in the arm's folder under `reference/`; a resumed run takes it from there, verified.
    """
    plan = prepared.plan
    if plan.get("objective") not in COMPARING:
        return lambda trainer: None

    def before(trainer: Trainer) -> None:
        from bloomery.train.reference import make_reference, open_reference

        job, place = trainer.job, run.folder / FOLDER
        start = model_hash(Path(plan.get("start.folder")))
        reference = open_reference(place, start)
        if reference is None:
            watched = (row for one in job.held_out for row in one.rows)
            rows = chain(_reachable(prepared, run), watched)
            said = _Said(trainer)
            reference = make_reference(place, start, rows, trainer.module, job.config.micro_tokens, job.world, said)
            said.done()
        source.refer = reference.refer
        job.held_out = [replace(one, rows=[*map(reference.refer, one.rows)]) for one in job.held_out]

    return before


def _reachable(prepared: Prepared, run: ArmRun) -> Iterator[TokenRow]:
    """Every row that the arm trains on; where shares may change on the way, every row that there is."""
    if not prepared.plan.get("keep.hold"):
        return prepared.source(run.arm, run.seed).distinct(prepared.plan.arm(run.arm).steps)
    tables = prepared.tables.values()
    return (row for table in tables for index in range(table.n_rows) for row in table.rows(index))


class _Said:
    """Notes in the event log how far the reference is, about every ten seconds, and how long it took."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._began, self._last, self._rows = trainer, time.monotonic(), time.monotonic(), 0

    def __call__(self, rows: int) -> None:
        self._rows = rows
        if time.monotonic() - self._last > 10:
            self.done()
            self._last = time.monotonic()

    def done(self) -> None:
        self._trainer.log("reference", 0, rows=self._rows, seconds=time.monotonic() - self._began)
