"""Run a program on tables. No eval, no I/O; work is bounded by statements x rows, numbers by 1e12."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.grammar import (
    Brand,
    Charge,
    Clause,
    Condition,
    Draw,
    Forge,
    Measure,
    Melt,
    Number,
    Pour,
    Program,
    Rank,
    Sift,
    Skim,
    Stack,
    Statement,
    Value,
    Weld,
)
from bloomery.data.curated.workflow.parser import parse
from bloomery.data.curated.workflow.table import LARGEST, Row, Table

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "is": lambda cell, value: cell == value,
    "not": lambda cell, value: cell != value,
    "over": lambda cell, value: cell > value,
    "under": lambda cell, value: cell < value,
    "least": lambda cell, value: cell >= value,
    "most": lambda cell, value: cell <= value,
    "has": lambda cell, value: value in cell,
}
COMBINE: dict[str, Callable[[Number, Number], Number]] = {
    "plus": lambda left, right: left + right,
    "minus": lambda left, right: left - right,
    "times": lambda left, right: left * right,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program leaves: a table or, after a measure, a number; and the places it was poured to.

    `number` is None where there is a table, and where `level`, `peak` or `ebb` met no rows.
    """

    table: Table | None
    number: Number | None
    poured: tuple[str, ...]


def run(program: Program | str, tables: Mapping[str, Table]) -> Outcome:
    """Run a program or its text on named tables, which stay unchanged.

    Raises `WorkflowError` for text that does not parse, an unknown table or column, text where a number is
    needed or the other way round, and a number beyond 1e12.
    """
    program = parse(program) if isinstance(program, str) else program
    machine = _Machine(tables)
    for index, statement in enumerate(program.statements):
        machine.line = program.line(index)
        machine.step(statement)
    flow = None if machine.measured else Table(tuple(machine.columns), tuple(machine.rows))
    return Outcome(flow, machine.number, tuple(machine.poured))


class _Machine:
    """The flow between two statements: columns and rows, later a number."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.line = 1
        self.columns: list[str] = []
        self.rows: list[Row] = []
        self.number: Number | None = None
        self.measured = False
        self.poured: list[str] = []

    def step(self, statement: Statement) -> None:
        _STEPS[type(statement)](self, statement)

    def table_named(self, name: str) -> Table:
        if name not in self.tables:
            raise WorkflowError(self.line, name, f"a table ({', '.join(sorted(self.tables))})", self.tables)
        return self.tables[name]

    def need(self, column: str) -> str:
        """The column's name, if the flow has it."""
        if column not in self.columns:
            raise WorkflowError(self.line, column, f"a column ({', '.join(self.columns)})", self.columns)
        return column

    def numbers(self, column: str, rows: Iterable[Row]) -> list[Number]:
        """The cells of a column that must all be numbers."""
        self.need(column)
        cells: list[Number] = []
        for row in rows:
            cell = row[column]
            if isinstance(cell, str):
                raise WorkflowError(self.line, column, "a column of numbers, not of text")
            cells.append(cell)
        return cells

    def bounded(self, value: Number) -> Number:
        """A result with at most two decimals, whole numbers as int; never beyond 1e12."""
        if abs(value) > LARGEST:
            raise WorkflowError(self.line, f"{value:.3g}", "a number up to 1e12")
        value = round(value, 2)
        return int(value) if value == int(value) else value

    def passing(self, condition: Condition) -> list[bool]:
        """For each row, whether it passes."""
        verdicts = [self.test(test) for test in condition.tests]
        join = all if condition.joiner == "and" else any
        return [join(row) for row in zip(*verdicts, strict=True)]

    def test(self, test: Clause) -> list[bool]:
        self.need(test.column)
        compare = COMPARE[test.relation]
        cells: Sequence[Value]
        if test.relation in ("is", "not"):
            cells = [row[test.column] for row in self.rows]
        elif test.relation == "has":
            cells = self.texts(test.column)
        else:
            cells = self.numbers(test.column, self.rows)
        return [compare(cell, test.value) for cell in cells]

    def texts(self, column: str) -> list[str]:
        cells = []
        for row in self.rows:
            cell = row[column]
            if not isinstance(cell, str):
                raise WorkflowError(self.line, column, "a column of text, not of numbers")
            cells.append(cell)
        return cells

    def measure(self, measure: Measure, rows: Sequence[Row]) -> Number | None:
        """`tally` and `weigh` of no rows are 0; the others have no value there."""
        if measure.column is None:
            return len(rows)
        cells = self.numbers(measure.column, rows)
        if measure.kind == "weigh":
            return self.bounded(sum(cells))
        if not cells:
            return None
        if measure.kind == "level":
            return self.bounded(sum(cells) / len(cells))
        return max(cells) if measure.kind == "peak" else min(cells)


def _charge(machine: _Machine, statement: Charge) -> None:
    loaded = machine.table_named(statement.table)
    machine.columns, machine.rows = list(loaded.columns), list(loaded.rows)


def _sift(machine: _Machine, statement: Sift) -> None:
    verdicts = machine.passing(statement.condition)
    machine.rows = [row for row, passes in zip(machine.rows, verdicts, strict=True) if passes == statement.keep]


def _rank(machine: _Machine, statement: Rank) -> None:
    column = machine.need(statement.column)
    if any(isinstance(row[column], str) for row in machine.rows):
        machine.texts(column)
    cells: Callable[[Row], Any] = lambda row: row[column]  # noqa: E731 - all text or all numbers by now
    # reverse=True keeps ties in their order too, as the manual promises for both directions.
    machine.rows = sorted(machine.rows, key=cells, reverse=statement.direction == "down")


def _skim(machine: _Machine, statement: Skim) -> None:
    machine.rows = machine.rows[: statement.count] if statement.first else machine.rows[-statement.count :]


def _draw(machine: _Machine, statement: Draw) -> None:
    machine.columns = [machine.need(column) for column in statement.columns]
    machine.rows = [{column: row[column] for column in machine.columns} for row in machine.rows]


def _forge(machine: _Machine, statement: Forge) -> None:
    left, right = (_operand(machine, operand) for operand in (statement.left, statement.right))
    combine = COMBINE[statement.operator]
    made = [machine.bounded(combine(a, b)) for a, b in zip(left, right, strict=True)]
    _write(machine, statement.column, made)


def _operand(machine: _Machine, operand: str | Number) -> list[Number]:
    return machine.numbers(operand, machine.rows) if isinstance(operand, str) else [operand] * len(machine.rows)


def _brand(machine: _Machine, statement: Brand) -> None:
    verdicts = machine.passing(statement.condition)
    earlier = [row.get("brand", "plain") for row in machine.rows]
    _write(machine, "brand", [statement.word if v else old for v, old in zip(verdicts, earlier, strict=True)])


def _write(machine: _Machine, column: str, cells: Sequence[Value]) -> None:
    machine.rows = [{**row, column: cell} for row, cell in zip(machine.rows, cells, strict=True)]
    if column not in machine.columns:
        machine.columns.append(column)


def _melt(machine: _Machine, statement: Melt) -> None:
    column = machine.need(statement.column)
    machine.columns = [column]
    machine.rows = [{column: cell} for cell in dict.fromkeys(row[column] for row in machine.rows)]


def _stack(machine: _Machine, statement: Stack) -> None:
    column, measure = machine.need(statement.column), statement.measure
    made = machine.need(measure.column) if measure.column else measure.kind
    groups: dict[Value, list[Row]] = {}
    for row in machine.rows:
        groups.setdefault(row[column], []).append(row)
    rows: list[Row] = []
    for key, members in groups.items():
        value = machine.measure(measure, members)
        rows.append({column: key, made: value if value is not None else 0})
    machine.columns, machine.rows = [column, made], rows


def _weld(machine: _Machine, statement: Weld) -> None:
    other, column = machine.table_named(statement.table), machine.need(statement.column)
    if column not in other.columns:
        raise WorkflowError(
            machine.line, column, f"a column of {statement.table} ({', '.join(other.columns)})", other.columns
        )
    new = [name for name in other.columns if name not in machine.columns]
    matches: dict[Value, Row] = {}
    for row in other.rows:
        matches.setdefault(row[column], row)
    joined = [(row, matches[row[column]]) for row in machine.rows if row[column] in matches]
    machine.rows = [{**row, **{name: match[name] for name in new}} for row, match in joined]
    machine.columns += new


def _measure(machine: _Machine, statement: Measure) -> None:
    machine.number, machine.measured = machine.measure(statement, machine.rows), True


def _pour(machine: _Machine, statement: Pour) -> None:
    size = machine.number if machine.measured else len(machine.rows)
    always = statement.relation is None or statement.number is None
    if always or (size is not None and COMPARE[statement.relation or "is"](size, statement.number)):
        machine.poured.append(statement.place)


_STEPS: dict[type, Callable[[_Machine, Any], None]] = {
    Charge: _charge, Sift: _sift, Rank: _rank, Skim: _skim, Draw: _draw, Forge: _forge, Brand: _brand, Melt: _melt,
    Stack: _stack, Weld: _weld, Measure: _measure, Pour: _pour,
}  # fmt: skip
