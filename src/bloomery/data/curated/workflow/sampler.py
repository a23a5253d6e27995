"""Random programs that parse, run and mean something, and which split each belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bloomery.core.errors import InputError, nearest
from bloomery.data.curated.workflow.company import (
    LOOKUPS,
    MAIN_TABLES,
    PLACES,
    TABLES,
    WORDS,
    Kind,
    Span,
    numbers_of,
    texts_of,
)
from bloomery.data.curated.workflow.grammar import (
    COLUMN_MEASURES,
    DIRECTIONS,
    OPERATORS,
    ORDER_RELATIONS,
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
    Weld,
)
from bloomery.data.curated.workflow.interpreter import COMBINE

SPLITS = ("train", "heldout")
LEVELS = ("easy", "hard")
HELDOUT_SHARE = 8
"""One program in eight is held out, whatever question or page it would appear in."""


def split_of(program: Program) -> str:
    """'train' or 'heldout', by a hash of the program's text: the same for every seed, level and phrasing."""
    digest = hashlib.sha256(str(program).encode()).digest()
    return "heldout" if digest[0] % HELDOUT_SHARE == 0 else "train"


def check_choice(key: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `InputError` for an option outside its list."""
    if value not in known:
        raise InputError(
            f"`{key}: {value}` is not one of the choices{nearest(str(value), known)}", fix=f"change `{key}`"
        )


def sample_program(rng: Random, level: str, split: str) -> Program:
    """A program of the level that belongs to the split.

    Easy programs have 1 to 3 statements, hard ones 4 to 6, with welds, made columns and compound tests.
    """
    check_choice("level", level, LEVELS)
    check_choice("split", split, SPLITS)
    while True:
        start = rng.choice(MAIN_TABLES)
        draft = _Draft(rng, level == "hard", [Charge(start)], dict(TABLES[start]))
        program = draft.program()
        if split_of(program) == split:
            return program


@dataclass(slots=True)
class _Draft:
    """A program in the making: the columns its flow has by now, with what stands in them."""

    rng: Random
    hard: bool
    statements: list[Statement]
    kinds: dict[str, Kind]

    def program(self) -> Program:
        """Add statements that fit until the program is as long as its level wants."""
        length = self.rng.choice((4, 4, 5, 5, 6)) if self.hard else self.rng.choice((1, 2, 2, 2, *[3] * 9))
        makers = _HARD if self.hard else _EASY
        names, weights = list(makers), [weight for weight, _ in makers.values()]
        while len(self.statements) < length:
            if isinstance(self.statements[-1], Measure):
                made: Statement | None = _pour(self)
            else:
                made = makers[self.rng.choices(names, weights)[0]][1](self)
            if made and self.fits(made, length - len(self.statements)):
                self.statements.append(made)
                self.kinds = _kinds_after(made, self.kinds)
        return Program(tuple(self.statements))

    def fits(self, made: Statement, room: int) -> bool:
        """Whether a statement adds something to those that are there and leaves room for what must follow."""
        if isinstance(made, Pour):
            return room == 1 and len(self.statements) > 1
        if isinstance(made, Measure):
            return room <= 2 and not _wastes(made, self.statements)
        if isinstance(made, Rank | Draw) and type(made) is type(self.statements[-1]):
            return False
        if isinstance(made, Draw | Stack | Melt) and _wastes(made, self.statements):
            return False
        return not (isinstance(made, _ONCE) and any(type(made) is type(earlier) for earlier in self.statements))

    def number_column(self) -> str | None:
        """A column of numbers, if there is one."""
        columns = numbers_of(self.kinds)
        return self.rng.choice(columns) if columns else None

    def text_column(self) -> str | None:
        """A column of texts, if there is one; not `brand`, whose words are few."""
        columns = [column for column in texts_of(self.kinds) if column != "brand"]
        return self.rng.choice(columns) if columns else None

    def near(self, span: Span) -> Number:
        """A number that splits a span: none of its ends, round where the span is wide."""
        low, high = span.low + (span.high - span.low) // 6, span.high - (span.high - span.low) // 6
        step = 10 if high - low > 150 else 5 if high - low > 40 else 1
        return max(low, self.rng.randint(low, high) // step * step)


def _wastes(made: Statement, before: list[Statement]) -> bool:
    """Whether a statement hides the work of an earlier one: a rank before a sum, a made column nobody uses."""
    hides = not isinstance(made, Draw)
    for index, earlier in enumerate(before):
        later = [*before[index + 1 :], made]
        words = {word for statement in later for word in str(statement).split()}
        match earlier:
            case Rank() if hides and not any(isinstance(statement, Skim) for statement in later):
                return True
            case Draw() if hides:
                return True
            case Forge(column) if column not in words:
                return True
            case Brand() if "brand" not in words:
                return True
            case Weld(table, column) if not words & (set(TABLES[table]) - {column}):
                return True
    return made == Measure("tally") and isinstance(before[-1], Skim | Stack)


def _kinds_after(made: Statement, kinds: dict[str, Kind]) -> dict[str, Kind]:
    """The columns that the flow has after a statement."""
    match made:
        case Draw(columns):
            return {column: kinds[column] for column in columns}
        case Melt(column):
            return {column: kinds[column]}
        case Stack(column, measure):
            name = measure.column or measure.kind
            return {column: kinds[column], name: kinds.get(name, Span(1, 6))}
        case Forge(column):
            return {**kinds, column: _forged(made, kinds)}
        case Brand(word):
            return {**kinds, "brand": (word, "plain")}
        case Weld(other):
            return {**TABLES[other], **kinds}
    return kinds


def _forged(made: Forge, kinds: dict[str, Kind]) -> Span:
    """The positive numbers that a made column can hold."""
    left, right = (_span(side, kinds) for side in (made.left, made.right))
    combine = COMBINE[made.operator]
    corners = [int(combine(a, b)) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Span(max(0, min(corners)), max(1, *corners))


def _span(side: str | Number, kinds: dict[str, Kind]) -> Span:
    kind = kinds[side] if isinstance(side, str) else Span(int(side), int(side))
    assert isinstance(kind, Span)
    return kind


def _clause(draft: _Draft) -> Clause:
    column = draft.rng.choice(list(draft.kinds))
    kind = draft.kinds[column]
    if isinstance(kind, Span):
        relation = draft.rng.choice((*ORDER_RELATIONS, "over", "under", "is"))
        return Clause(column, relation, draft.near(kind))
    word = draft.rng.choice(kind)
    if draft.hard and len(word) > 3 and draft.rng.random() < 0.15:
        return Clause(column, "has", word[: draft.rng.randint(2, 3)])
    return Clause(column, draft.rng.choice(("is", "is", "not")), word)


def _condition(draft: _Draft) -> Condition:
    first = _clause(draft)
    if draft.hard and draft.rng.random() < 0.35:
        second = _clause(draft)
        if second.column != first.column:
            return Condition((first, second), draft.rng.choice(("and", "and", "or")))
    return Condition((first,))


def _sift(draft: _Draft) -> Sift | None:
    condition = _condition(draft)
    earlier = {test.column for made in draft.statements if isinstance(made, Sift) for test in made.condition.tests}
    again = any(test.column in earlier for test in condition.tests)
    # Two tests of one column often contradict each other; refusing them always could leave a long program stuck.
    return (
        None
        if again and (not draft.hard or draft.rng.random() < 0.8)
        else Sift(condition, keep=draft.rng.random() < 0.75)
    )


def _rank(draft: _Draft) -> Rank | None:
    column = draft.number_column() if draft.rng.random() < 0.85 else draft.text_column()
    return Rank(column, draft.rng.choice(DIRECTIONS)) if column else None


def _skim(draft: _Draft) -> Skim:
    return Skim(draft.rng.randint(1, 9), first=draft.rng.random() < 0.75)


def _draw(draft: _Draft) -> Draw | None:
    if len(draft.kinds) < 4:
        return None
    return Draw(tuple(draft.rng.sample(list(draft.kinds), draft.rng.randint(1, 3))))


def _forge(draft: _Draft) -> Forge | None:
    left = draft.number_column()
    if left is None:
        return None
    others = [column for column in numbers_of(draft.kinds) if column != left]
    use_column = others and draft.rng.random() < 0.6
    right: str | Number = draft.rng.choice(others) if use_column else draft.rng.randint(2, 9)
    return Forge("net", left, draft.rng.choice(OPERATORS), right)


def _brand(draft: _Draft) -> Brand:
    return Brand(draft.rng.choice(WORDS), _condition(draft))


def _melt(draft: _Draft) -> Melt | None:
    column = draft.text_column()
    return Melt(column) if column and len(draft.kinds) > 2 else None


def _measure(draft: _Draft) -> Measure:
    column = draft.number_column()
    if column is None or draft.rng.random() < 0.3:
        return Measure("tally")
    return Measure(draft.rng.choice(COLUMN_MEASURES), column)


def _stack(draft: _Draft) -> Stack | None:
    column = draft.text_column()
    return Stack(column, _measure(draft)) if column and len(draft.kinds) > 2 else None


def _weld(draft: _Draft) -> Weld | None:
    fitting = [name for name, key in LOOKUPS.items() if key in draft.kinds]
    if not fitting or len(draft.statements) > 2:
        return None
    other = draft.rng.choice(fitting)
    return Weld(other, LOOKUPS[other])


def _pour(draft: _Draft) -> Pour:
    place = draft.rng.choice(PLACES)
    if not draft.hard or draft.rng.random() < 0.5:
        return Pour(place)
    measured = isinstance(draft.statements[-1], Measure)
    number = draft.rng.choice((50, 100, 200, 500) if measured else (2, 3, 4, 5))
    return Pour(place, draft.rng.choice(ORDER_RELATIONS), number)


_ONCE = (Skim, Stack, Weld, Melt, Brand, Forge)
"""Statements that a generated program has at most once."""
_EASY: dict[str, tuple[float, Callable[[_Draft], Statement | None]]] = {
    "sift": (8, _sift), "rank": (3, _rank), "skim": (2, _skim), "draw": (2, _draw), "measure": (5, _measure),
    "stack": (2, _stack), "melt": (1, _melt), "pour": (1, _pour),
}  # fmt: skip
_HARD = _EASY | {"measure": (10, _measure), "forge": (2, _forge), "brand": (2, _brand), "weld": (4, _weld)}
