"""The words and the syntax tree of the language; `str(program)` is its one canonical text.

    charge TABLE                                sift TEST [and TEST ... | or TEST ...]
    dross TEST [and TEST ... | or TEST ...]     rank COLUMN up|down
    skim N                                      dregs N
    draw COLUMN ...                             forge COLUMN from OPERAND plus|minus|times OPERAND
    brand WORD when TEST [and|or TEST ...]      melt COLUMN
    stack COLUMN MEASURE                        weld TABLE on COLUMN
    MEASURE                                     pour PLACE [when over|under|least|most|is|not NUMBER]

TEST is `COLUMN RELATION VALUE`; MEASURE is `tally` or `weigh|level|peak|ebb COLUMN`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Number = int | float
Value = Number | str

ORDER_RELATIONS = ("over", "under", "least", "most")
"""Relations between numbers: more than, less than, at least, at most."""
NUMBER_RELATIONS = (*ORDER_RELATIONS, "is", "not")
RELATIONS = (*NUMBER_RELATIONS, "has")
DIRECTIONS = ("up", "down")
OPERATORS = ("plus", "minus", "times")
JOINERS = ("and", "or")
COLUMN_MEASURES = ("weigh", "level", "peak", "ebb")
"""Measures of a column of numbers: sum, average, largest, smallest."""
MEASURES = ("tally", *COLUMN_MEASURES)
KEYWORDS = (
    "charge", "sift", "dross", "rank", "skim", "dregs", "draw", "forge", "brand", "melt", "stack", "weld",
    *MEASURES, "pour",
)  # fmt: skip
RESERVED = frozenset({*RELATIONS, *DIRECTIONS, *OPERATORS, *JOINERS, "when", "from", "on"})
"""Words with a fixed meaning inside a statement; no table, column or place may be called so."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")
NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,2})?")
TEXT = re.compile(r'"[^"\x00-\x1f\x7f-\x9f\u2028\u2029]{0,60}"')
"""A quoted value: no quote, no control character and no line separator inside."""


def number_text(value: Number) -> str:
    """A number as the language writes it: no exponent, at most two decimals, none where it is whole."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def value_text(value: Value) -> str:
    """A value as a program writes it: words bare, any other text in double quotes."""
    if not isinstance(value, str):
        return number_text(value)
    return value if NAME.fullmatch(value) and value not in RESERVED else f'"{value}"'


@dataclass(frozen=True, slots=True)
class Clause:
    """`COLUMN RELATION VALUE`, true or false for one row."""

    column: str
    relation: str
    value: Value

    def __str__(self) -> str:
        return f"{self.column} {self.relation} {value_text(self.value)}"


@dataclass(frozen=True, slots=True)
class Condition:
    """One to four tests, all joined by the same word, so that no precedence has to be remembered."""

    tests: tuple[Clause, ...]
    joiner: str = "and"

    def __str__(self) -> str:
        return f" {self.joiner} ".join(map(str, self.tests))


@dataclass(frozen=True, slots=True)
class Charge:
    """Load a table; every program begins with it."""

    table: str

    def __str__(self) -> str:
        return f"charge {self.table}"


@dataclass(frozen=True, slots=True)
class Sift:
    """Keep the rows that pass (`sift`), or throw them away (`dross`)."""

    condition: Condition
    keep: bool = True

    def __str__(self) -> str:
        return f"{'sift' if self.keep else 'dross'} {self.condition}"


@dataclass(frozen=True, slots=True)
class Rank:
    """Sort by a column; rows that tie stay in their order."""

    column: str
    direction: str

    def __str__(self) -> str:
        return f"rank {self.column} {self.direction}"


@dataclass(frozen=True, slots=True)
class Skim:
    """Keep the first rows (`skim`), or the last ones (`dregs`)."""

    count: int
    first: bool = True

    def __str__(self) -> str:
        return f"{'skim' if self.first else 'dregs'} {self.count}"


@dataclass(frozen=True, slots=True)
class Draw:
    """Keep only the named columns, in that order."""

    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"draw {' '.join(self.columns)}"


@dataclass(frozen=True, slots=True)
class Forge:
    """Make or replace a column of numbers from two operands: columns or numbers."""

    column: str
    left: str | Number
    operator: str
    right: str | Number

    def __str__(self) -> str:
        return f"forge {self.column} from {value_text(self.left)} {self.operator} {value_text(self.right)}"


@dataclass(frozen=True, slots=True)
class Brand:
    """Write a word into column `brand` of the rows that pass; the others keep theirs, or get `plain`."""

    word: str
    condition: Condition

    def __str__(self) -> str:
        return f"brand {self.word} when {self.condition}"


@dataclass(frozen=True, slots=True)
class Melt:
    """Keep one column, each value once, in order of first appearance."""

    column: str

    def __str__(self) -> str:
        return f"melt {self.column}"


@dataclass(frozen=True, slots=True)
class Measure:
    """Turn rows into a number: how many (`tally`), sum, average, largest, smallest of a column."""

    kind: str
    column: str | None = None

    def __str__(self) -> str:
        return self.kind if self.column is None else f"{self.kind} {self.column}"


@dataclass(frozen=True, slots=True)
class Stack:
    """One row for each value of a column, with a measure of the rows that share it."""

    column: str
    measure: Measure

    def __str__(self) -> str:
        return f"stack {self.column} {self.measure}"


@dataclass(frozen=True, slots=True)
class Weld:
    """Add the columns of another table's first matching row; rows without a match are dropped."""

    table: str
    column: str

    def __str__(self) -> str:
        return f"weld {self.table} on {self.column}"


@dataclass(frozen=True, slots=True)
class Pour:
    """Send the result to a place, always or when it (the number, or how many rows) passes."""

    place: str
    relation: str | None = None
    number: Number | None = None

    def __str__(self) -> str:
        if self.relation is None or self.number is None:
            return f"pour {self.place}"
        return f"pour {self.place} when {self.relation} {number_text(self.number)}"


Statement = Charge | Sift | Rank | Skim | Draw | Forge | Brand | Melt | Stack | Weld | Measure | Pour


@dataclass(frozen=True, slots=True)
class Program:
    """Statements in order; `lines[i]` is the line of the source that statement i stood on."""

    statements: tuple[Statement, ...]
    lines: tuple[int, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return "\n".join(map(str, self.statements))

    def line(self, index: int) -> int:
        """The source line of a statement; its position where the program was never text."""
        return self.lines[index] if self.lines else index + 1
