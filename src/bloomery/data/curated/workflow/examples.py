"""Programs with small tables that show what they do, for the manual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bloomery.data.curated.workflow.company import LOOKUPS, sample_table
from bloomery.data.curated.workflow.grammar import Brand, Charge, Program, Sift, Value, Weld
from bloomery.data.curated.workflow.interpreter import Outcome, run
from bloomery.data.curated.workflow.sampler import sample_program
from bloomery.data.curated.workflow.table import Table, table
from bloomery.data.curated.workflow.transcript import program_text, result_text, table_text

_TRIES = 12
"""Tables drawn for a program before one on which it gives an empty result is accepted."""


@dataclass(frozen=True, slots=True)
class Example:
    """A program and the tables it runs on, cut to the columns that matter."""

    program: Program
    tables: dict[str, Table]

    @property
    def data(self) -> str:
        """The tables as a transcript shows them."""
        return "\n".join(table_text(name, shown) for name, shown in self.tables.items())

    @property
    def listing(self) -> str:
        """The program as a transcript shows it."""
        return program_text(self.program)

    @property
    def result(self) -> str:
        """What the program gives on the tables, as a transcript shows it."""
        return result_text(self.program, self.tables)

    def size_after(self, statements: int) -> int | None:
        """How many rows are in the flow after the first statements; None once they are measured."""
        flow = run(Program(self.program.statements[:statements]), self.tables).table
        return None if flow is None else len(flow.rows)


def example(
    rng: Random, split: str, level: str | None = None, want: Callable[[Program], bool] = lambda program: True
) -> Example:
    """A program of the split that satisfies `want`, with tables of 4 to 6 rows on which it mostly shows something."""
    while True:
        program = sample_program(rng, level or rng.choice(("easy", "easy", "hard")), split)
        if len(program.statements) > 1 and want(program):
            return Example(program, tables_for(rng, program))


def tables_for(rng: Random, program: Program) -> dict[str, Table]:
    """Small tables for a program, drawn again until its result has rows or a number other than 0."""
    for _ in range(_TRIES):
        tables = _draw_tables(rng, program)
        if _shows(run(program, tables)):
            break
    return tables


def _shows(outcome: Outcome) -> bool:
    return bool(outcome.table.rows) if outcome.table is not None else bool(outcome.number)


def _draw_tables(rng: Random, program: Program) -> dict[str, Table]:
    near: list[Value] = []
    for statement in program.statements:
        if isinstance(statement, Sift | Brand):
            near += [test.value for test in statement.condition.tests]
    words = set(str(program).split())
    tables: dict[str, Table] = {}
    for statement in program.statements:
        if isinstance(statement, Charge):
            tables[statement.table] = _narrow(rng, sample_table(rng, statement.table, rng.randint(4, 6), near), words)
        if isinstance(statement, Weld):
            full = sample_table(rng, statement.table, 0, near)
            keys = {row[LOOKUPS[statement.table]] for shown in tables.values() for row in shown.rows}
            tables[statement.table] = table(
                [row for row in full.rows if row[LOOKUPS[statement.table]] in keys], full.columns
            )
    return tables


def _narrow(rng: Random, full: Table, words: set[str]) -> Table:
    """The columns that a program names, and one or two beside them."""
    others = [column for column in full.columns if column not in words]
    shown = words | set(rng.sample(others, min(len(others), rng.randint(1, 2))))
    columns = [column for column in full.columns if column in shown]
    return table([{column: row[column] for column in columns} for row in full.rows], columns)
