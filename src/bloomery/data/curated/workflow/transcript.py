"""Programs with their data and results as text, and the way back: every printed result can be replayed.

    table orders
    | buyer | total |
    | ada | 40 |
    > charge orders
    > weigh total
    = 40

Lines begin with `|` (a table's header, then its rows), `>` (a program), `=` (what it gave) or `!` (the error it
raised). A table stays known until another of its name is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.grammar import NUMBER, Value, number_text
from bloomery.data.curated.workflow.interpreter import Outcome, run
from bloomery.data.curated.workflow.table import Table, cell_text, table


@dataclass(slots=True)
class Shown:
    """A program found in a text, the tables shown above it, and the lines printed below it as its result."""

    program: str
    tables: dict[str, Table]
    printed: list[str] = field(default_factory=list)


def table_text(name: str, shown: Table) -> str:
    """A named table as a transcript shows it."""
    return "\n".join([f"table {name}", *_grid(shown)])


def program_text(program: object) -> str:
    """A program with `> ` before every line."""
    return "\n".join(f"> {line}" for line in str(program).split("\n"))


def result_text(program: object, tables: Mapping[str, Table]) -> str:
    """What running the program prints: `= ` lines, or one `! ` line with the error."""
    return "\n".join(_printed(str(program), tables))


def outcome_lines(outcome: Outcome) -> list[str]:
    """An outcome, a line each: the table's grid or the number, then the places it was poured to."""
    if outcome.table is not None:
        lines = _grid(outcome.table)
    else:
        lines = ["nothing" if outcome.number is None else number_text(outcome.number)]
    return lines + [f"poured to {place}" for place in outcome.poured]


def find_programs(text: str) -> Iterator[Shown]:
    """Yield every program of a text with the tables and the printed result that belong to it."""
    known: dict[str, Table] = {}
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if lines[at].startswith("table ") and lines[at + 1 : at + 2] and lines[at + 1].startswith("| "):
            grid, after = _block(lines, at + 1, "| ")
            known[lines[at].removeprefix("table ")] = _table(grid)
        elif lines[at].startswith("> "):
            program, after = _block(lines, at, "> ")
            shown = Shown("\n".join(line[2:] for line in program), dict(known))
            shown.printed, after = _block(lines, after, "= ", "! ")
            yield shown
        else:
            after = at + 1
        at = after


def mismatches(text: str) -> list[str]:
    """Replay every program of a text that has a printed result; one message for each that differs."""
    wrong = []
    for shown in find_programs(text):
        given = _printed(shown.program, shown.tables)
        if shown.printed and shown.printed != given:
            wrong.append(f"{shown.program!r} prints {given}, the text shows {shown.printed}")
    return wrong


def _printed(program: str, tables: Mapping[str, Table]) -> list[str]:
    try:
        return [f"= {line}" for line in outcome_lines(run(program, tables))]
    except WorkflowError as error:
        return [f"! {error}"]


def _grid(shown: Table) -> list[str]:
    rows = [[cell_text(row[column]) for column in shown.columns] for row in shown.rows]
    return [f"| {' | '.join(cells)} |" for cells in [list(shown.columns), *rows]]


def _table(grid: list[str]) -> Table:
    header, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in grid]
    return table([dict(zip(header, map(_cell, cells), strict=True)) for cells in rows], header)


def _cell(text: str) -> Value:
    if not NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def _block(lines: list[str], at: int, *marks: str) -> tuple[list[str], int]:
    """The run of lines from `at` that begin with one of the marks, and the index after it."""
    end = at
    while end < len(lines) and lines[end].startswith(marks):
        end += 1
    return lines[at:end], end
