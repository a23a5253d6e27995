"""What programs run on: small tables of numbers and texts, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.grammar import Value, number_text

Row = Mapping[str, Value]
MAX_ROWS = 10_000
LARGEST = 1e12
"""Largest size of a number in a table or a result; beyond it, two decimals are no longer exact in a double."""


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns and rows that have exactly these columns; a table without rows still has columns."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> Table:
    """A checked table from a list of dicts; `columns` is needed only where there are no rows.

    Raises `InputError` for more than 10,000 rows, rows of different columns, or a cell that is neither text
    nor a finite number of at most 1e12.
    """
    names = tuple(columns if columns is not None else rows[0] if rows else ())
    if len(rows) > MAX_ROWS:
        raise InputError(f"a table has {len(rows):,} rows, at most {MAX_ROWS:,} are allowed")
    for index, row in enumerate(rows):
        if set(row) != set(names):
            raise InputError(f"row {index} of a table has columns {sorted(row)}, expected {sorted(names)}")
        for name, cell in row.items():
            if not _allowed(cell):
                raise InputError(f"row {index} of a table: `{name}` is {cell!r}, neither text nor a number up to 1e12")
    return Table(names, tuple(dict(row) for row in rows))


def cell_text(value: Value) -> str:
    """A cell as a transcript shows it."""
    return value if isinstance(value, str) else number_text(value)


def _allowed(cell: object) -> bool:
    if isinstance(cell, bool):
        return False
    return isinstance(cell, str) or (isinstance(cell, int | float) and abs(cell) <= LARGEST)
