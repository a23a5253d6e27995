"""The invented Ashgill Works: its tables, what stands in them, and sampled rows."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bloomery.data.curated.workflow.grammar import Number, Value
from bloomery.data.curated.workflow.table import Table, table

COMPANY = "Ashgill Works"
LANGUAGE = "tapline"
PLACES = ("billing", "packing", "depot", "audit", "alarms", "desk", "yard", "night", "ledger", "gate")
"""Where results are poured to."""
WORDS = ("red", "amber", "green", "late", "big", "rare", "hot", "cold")
"""Words that programs brand rows with."""

_PEOPLE = ("ada", "bram", "cleo", "dina", "emil", "fay", "gus", "hana", "ivo", "june")
_CITIES = ("oslo", "lyon", "bath", "kiel", "porto", "turin", "ghent", "york")
_SITES = ("mill", "dock", "kiln", "shed", "north", "south")
_MAKERS = ("tarn", "velk", "orrin", "sabel", "mosk", "quill")
_LINES = ("heron", "swift", "raven", "plover", "gull")


@dataclass(frozen=True, slots=True)
class Span:
    """A column of whole numbers from `low` to `high`, both included."""

    low: int
    high: int


Kind = Span | tuple[str, ...]
"""A column holds numbers of a span, or texts of a fixed list."""

TABLES: dict[str, dict[str, Kind]] = {
    "orders": {
        "buyer": _PEOPLE, "city": _CITIES, "item": ("rope", "lamp", "nails", "stove", "chain", "paint"),
        "qty": Span(1, 20), "price": Span(2, 90), "total": Span(10, 400), "state": ("open", "paid", "held", "sent"),
    },
    "tickets": {
        "agent": _PEOPLE, "topic": ("refund", "delay", "login", "damage", "price"), "hours": Span(1, 72),
        "rating": Span(1, 5), "city": _CITIES, "state": ("open", "closed", "stuck"),
    },
    "shifts": {
        "worker": _PEOPLE, "site": _SITES, "day": ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
        "hours": Span(2, 12), "pay": Span(12, 48), "breaks": Span(0, 4),
    },
    "loads": {
        "line": _LINES, "port": ("genoa", "malmo", "cadiz", "brest", "leith"), "weight": Span(5, 900),
        "cost": Span(20, 700), "days": Span(1, 30), "state": ("afloat", "landed", "lost"),
    },
    "stock": {
        "part": ("valve", "hinge", "gear", "bolt", "pump", "fuse", "belt"), "maker": _MAKERS, "site": _SITES,
        "left": Span(0, 250), "price": Span(1, 60), "wear": Span(0, 9),
    },
    "bills": {
        "client": ("acorn", "briar", "cobalt", "dunlin", "ember", "fjord"), "city": _CITIES, "amount": Span(15, 950),
        "due": Span(0, 90), "fee": Span(0, 40), "state": ("open", "paid", "late"),
    },
    "pours": {
        "kiln": ("one", "two", "three", "four"), "metal": ("iron", "brass", "tin", "steel"), "heat": Span(300, 990),
        "kilos": Span(5, 400), "flaws": Span(0, 12), "worker": _PEOPLE,
    },
    "cities": {"city": _CITIES, "region": ("west", "east", "coast", "hills"), "size": Span(1, 9)},
    "sites": {"site": _SITES, "boss": _PEOPLE, "crew": Span(3, 60)},
    "makers": {"maker": _MAKERS, "grade": ("gold", "silver", "plain"), "wait": Span(1, 30)},
    "lines": {"line": _LINES, "owner": _PEOPLE, "ships": Span(1, 25)},
}  # fmt: skip
"""Table -> column -> what stands in it. The last four have one row for each value of their first column."""

LOOKUPS = {"cities": "city", "sites": "site", "makers": "maker", "lines": "line"}
"""Tables that programs weld on, with the column they share with others."""
MAIN_TABLES = tuple(name for name in TABLES if name not in LOOKUPS)
_NEAR = 0.4
"""Share of cells that are drawn near the values a program tests for, so that its tests pass and fail."""


def sample_table(rng: Random, name: str, rows: int, near: Sequence[Value] = ()) -> Table:
    """A table of the company with `rows` random rows; lookup tables have one row for each key instead.

    Some cells are drawn from `near` (the constants of a program) or one beside them, where they fit the
    column: without this most random tables could not tell `over 50` from `least 50`.
    """
    kinds = TABLES[name]
    if name in LOOKUPS:
        keys = kinds[LOOKUPS[name]]
        assert isinstance(keys, tuple)
        return table([_row(rng, kinds, near) | {LOOKUPS[name]: key} for key in keys], list(kinds))
    return table([_row(rng, kinds, near) for _ in range(rows)], list(kinds))


def sample_tables(
    seed: int | str, rows: int, near: Sequence[Value] = (), wanted: Container[str] = TABLES
) -> dict[str, Table]:
    """All tables of the company, those not `wanted` with three rows; equal arguments give equal tables everywhere."""
    return {
        name: sample_table(Random(f"tables:{seed}:{name}"), name, rows if name in wanted else 3, near)
        for name in TABLES
    }


def numbers_of(kinds: Mapping[str, Kind]) -> list[str]:
    """The columns of numbers."""
    return [column for column, kind in kinds.items() if isinstance(kind, Span)]


def texts_of(kinds: Mapping[str, Kind]) -> list[str]:
    """The columns of text."""
    return [column for column, kind in kinds.items() if not isinstance(kind, Span)]


def _row(rng: Random, kinds: Mapping[str, Kind], near: Sequence[Value]) -> dict[str, Value]:
    return {column: _cell(rng, kind, near) for column, kind in kinds.items()}


def _cell(rng: Random, kind: Kind, near: Sequence[Value]) -> Value:
    if isinstance(kind, Span):
        numbers: list[Number] = [
            value for value in near if not isinstance(value, str) and kind.low <= value <= kind.high
        ]
        if numbers and rng.random() < _NEAR:
            return min(max(int(rng.choice(numbers)) + rng.choice((-1, 0, 0, 1)), kind.low), kind.high)
        return rng.randint(kind.low, kind.high)
    texts = [value for value in near if value in kind]
    return rng.choice(texts) if texts and rng.random() < _NEAR else rng.choice(kind)
