"""Is a program right? It must parse, run, and do on several tables what the reference program does.

Text need not be equal: `dross total most 50` is as good as `sift total over 50`. The tables are sampled near the
constants of the reference, so that a wrong relation, number or order shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.company import sample_tables
from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.grammar import (
    Brand,
    Charge,
    Program,
    Sift,
    Value,
)
from bloomery.data.curated.workflow.interpreter import Outcome, run
from bloomery.data.curated.workflow.parser import parse
from bloomery.data.curated.workflow.table import Table
from bloomery.data.curated.workflow.transcript import outcome_lines

TABLE_ROWS = (14, 3, 30, 5, 9, 4, 20, 6)
"""Rows of the tables that a program is tried on; some sets are so small that few or no rows pass."""
MAX_SEED = 2**53


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program is right; `reason` says what it got wrong, in words its writer can use."""

    ok: bool
    reason: str


def metadata_for(program: Program, seed: int) -> dict[str, Any]:
    """The checker's arguments for a task with this reference program: plain JSON."""
    return {"reference": str(program), "seed": seed}


def check(program_text: str, metadata: Mapping[str, Any]) -> Verdict:
    """Compare a program's outcomes with those of `metadata["reference"]` on tables of `metadata["seed"]`.

    The order of columns does not matter; the order of rows does. Never raises for a wrong program, whatever
    its text; raises `InputError` where the metadata has no reference that runs.
    """
    reference, seed = metadata.get("reference"), metadata.get("seed", 0)
    if not isinstance(reference, str) or not isinstance(seed, int) or abs(seed) > MAX_SEED:
        raise InputError("a workflow task needs `metadata.reference`, a program, and `metadata.seed`, a whole number")
    try:
        program = parse(program_text)
        trials = _trials(reference, seed)
        for tables, expected in trials:
            given = run(program, tables)
            if not _same(given, expected):
                return Verdict(False, f"gives `{_short(given)}`, expected `{_short(expected)}`")
    except WorkflowError as error:
        return Verdict(False, error.message)
    return Verdict(True, f"the same result on {len(trials)} sets of tables")


@lru_cache(maxsize=64)
def _trials(reference: str, seed: int) -> tuple[tuple[dict[str, Table], Outcome], ...]:
    """Tables and the reference's outcome on each; cached, since RL scores many answers to one question."""
    try:
        program = parse(reference)
        near, used = _constants(program), {s.table for s in program.statements if isinstance(s, Charge)}
        trials = []
        for index, rows in enumerate(TABLE_ROWS):
            tables = sample_tables(f"{seed}:{index}", rows, near, used)
            trials.append((tables, run(program, tables)))
    except WorkflowError as error:
        raise InputError(f"`metadata.reference` is not a program that runs: {error}") from None
    return tuple(trials)


def _constants(program: Program) -> list[Value]:
    """The values a program tests for: random tables must have cells on both sides of them."""
    values: list[Value] = []
    for statement in program.statements:
        if isinstance(statement, Sift | Brand):
            values += [test.value for test in statement.condition.tests]
    return values


def _same(given: Outcome, expected: Outcome) -> bool:
    if given.poured != expected.poured or given.number != expected.number:
        return False
    if given.table is None or expected.table is None:
        return given.table is expected.table
    return set(given.table.columns) == set(expected.table.columns) and given.table.rows == expected.table.rows


def _short(outcome: Outcome) -> str:
    """An outcome in a few words: its first lines."""
    lines = outcome_lines(outcome)
    return "; ".join(lines[:3]) + (f"; ... {len(lines) - 3} more" if len(lines) > 3 else "")
