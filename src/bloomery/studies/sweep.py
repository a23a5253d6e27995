"""Many experiments as a queue that resumes: what is finished is kept, what was interrupted goes on, the rest runs.

The run folders are the state of the queue; beside them lies only what the sweep asked for, and the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import BloomeryError, InputError, Where
from bloomery.core.files import canonical_hash, read_json, write_json, write_text
from bloomery.core.table import html_table
from bloomery.lineage.record import RunRecord, read_run
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.checks import refuse
from bloomery.recipes.explain import explain
from bloomery.recipes.start import RUNS
from bloomery.studies.sweep_file import Experiment, Sweep

DONE = ("done", "within", "broken", "unproven")
SHOWN = {
    "domain_change": ("domain", "%"),
    "domain_answers_change": ("domain answers", "points"),
    "general_change": ("general text", "%"),
}
"""Figures of a run's report in the table, where it has them: relative changes, and points of a score."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep so far: one row an experiment, in the file's order."""

    name: str
    headings: list[str]
    rows: list[list[str]]
    failed: int
    interrupted: bool

    @property
    def exit_status(self) -> int:
        """130 where it was interrupted, 1 where a run stopped itself, else 0: a budget is each run's own affair."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: the rows as mappings."""
        return {"name": self.name, "runs": [dict(zip(self.headings, row, strict=True)) for row in self.rows]}

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        lines = (self.headings, *self.rows)
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        return html_table(self.headings, self.rows)


ANOTHER = "give the sweep another `name`"


def run_sweep(sweep: Sweep, root: Path = RUNS, *, quiet: bool = False) -> SweepResult:
    """Run what is left of a sweep, and write its table to `root/NAME.sweep/` after each run.

    Every experiment is explained before the first begins. A run that stops itself is noted, and the next one begins;
    an interrupted one ends the queue. Raises `InputError` for what `explain` refuses, and where a sweep of that name
    asked for something else.
    """
    folder = root / f"{sweep.name}.sweep"
    _same_as_before(sweep, folder)
    for one in sweep.experiments:
        _refuse_in_the_way(one, root)
    left = list(_left(sweep, root))
    for one in left:
        _refuse(one, root)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "sweep.json", _asked(sweep))
    interrupted = False
    for one in left:
        if not quiet:
            told = ", ".join(f"{key}={value}" for key, value in one.settings.items())
            print(f"{one.name} of {len(sweep.experiments)}: {told}", file=sys.stderr, flush=True)
        status = _run_one(one, root, quiet)
        write_text(folder / "table.txt", f"{table(sweep, root)}\n")
        if status == "interrupted":
            interrupted = True
            break
    return table(sweep, root, interrupted)


def table(sweep: Sweep, root: Path = RUNS, interrupted: bool = False) -> SweepResult:
    """What there is of a sweep, from its run folders."""
    records = [_record(one, root) for one in sweep.experiments]
    figures = [name for name in SHOWN if any(r is not None and name in r.figures for r in records)]
    headings = ["run", *sweep.keys, "status", *(SHOWN[name][0] for name in figures)]
    rows = [
        [
            one.name,
            *(str(one.settings.get(key, "")) for key in sweep.keys),
            record.status if record else "waiting",
            *(_shown(record, name) for name in figures),
        ]
        for one, record in zip(sweep.experiments, records, strict=True)
    ]
    failed = sum(record is not None and record.status == "failed" for record in records)
    return SweepResult(sweep.name, headings, rows, failed, interrupted)


def _left(sweep: Sweep, root: Path) -> Iterator[Experiment]:
    for one in sweep.experiments:
        record = _record(one, root)
        if record is None or record.status not in DONE:
            yield one


def _record(one: Experiment, root: Path) -> RunRecord | None:
    folder = root / one.name
    return read_run(RunFolder.open(folder)) if (folder / "recipe.yaml").is_file() else None


def _refuse_in_the_way(one: Experiment, root: Path) -> None:
    """A folder of the experiment's name that is no run of it: its figures are not this sweep's."""
    folder = root / one.name
    recipe = folder / "recipe.yaml"
    if folder.exists() and not (recipe.is_file() and recipe.read_text(encoding="utf-8") == one.loaded.text()):
        what = "a run of another recipe" if recipe.is_file() else "no run"
        raise InputError(f"`{one.name}` is there already, and is {what}", where=Where(folder), fix=ANOTHER)


def _refuse(one: Experiment, root: Path) -> None:
    try:
        refuse(explain(one.loaded, place=root).problems)
    except InputError as error:
        raise InputError(f"{one.name}: {error.message}", where=error.where, fix=error.fix) from None


def _run_one(one: Experiment, root: Path, quiet: bool) -> str:
    """How it ended. A run that stops itself has said why in its own log."""
    from bloomery.recipes.run import resume, run

    place = root / one.name
    try:
        if (place / "recipe.yaml").is_file():
            return resume(str(place), quiet=quiet).status
        return run(one.loaded, folder=place, quiet=quiet).status
    except BloomeryError:
        if not (place / "recipe.yaml").is_file():
            raise
        return "failed"


def _asked(sweep: Sweep) -> dict[str, Any]:
    """What makes a sweep the same one when it is called again."""
    asked = [{"run": one.name, "set": dict(one.settings), "recipe": one.loaded.data} for one in sweep.experiments]
    return {"name": sweep.name, "experiments": asked}


def _same_as_before(sweep: Sweep, folder: Path) -> None:
    file = folder / "sweep.json"
    if file.is_file() and canonical_hash(read_json(file)) != canonical_hash(_asked(sweep)):
        raise InputError(f"the sweep `{sweep.name}` asked for something else before", where=Where(file), fix=ANOTHER)


def _shown(record: RunRecord | None, name: str) -> str:
    value = record.figures.get(name) if record else None
    if value is None:
        return ""
    return f"{100 * value:+.2f} {SHOWN[name][1]}"
