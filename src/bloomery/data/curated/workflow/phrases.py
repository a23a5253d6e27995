"""Programs in plain English: many ways to say each statement, for questions and for the manual."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from bloomery.data.curated.workflow.grammar import (
    Brand,
    Charge,
    Clause,
    Condition,
    Draw,
    Forge,
    Measure,
    Melt,
    Pour,
    Rank,
    Sift,
    Skim,
    Stack,
    Statement,
    Weld,
    number_text,
    value_text,
)

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "over": ("is over {v}", "is above {v}", "is more than {v}", "is greater than {v}", "exceeds {v}"),
    "under": ("is under {v}", "is below {v}", "is less than {v}", "is smaller than {v}"),
    "least": ("is at least {v}", "is {v} or more", "is no less than {v}"),
    "most": ("is at most {v}", "is {v} or less", "is no more than {v}"),
    "is": ("is {v}", "equals {v}", "is exactly {v}"),
    "not": ("is not {v}", "is anything but {v}", "differs from {v}"),
    "has": ("contains {v}", "has {v} in it", "includes {v}"),
}
MEASURE_WORDS: dict[str, tuple[str, ...]] = {
    "tally": ("count them", "count the rows", "say how many there are", "give the number of rows"),
    "weigh": ("add up the {c}", "give the sum of {c}", "give the total of {c}", "sum the {c}"),
    "level": ("give the average {c}", "average the {c}", "give the mean {c}"),
    "peak": ("give the largest {c}", "find the highest {c}", "give the maximum {c}"),
    "ebb": ("give the smallest {c}", "find the lowest {c}", "give the minimum {c}"),
}
GROUP_WORDS: dict[str, tuple[str, ...]] = {
    "tally": ("count the rows for each {k}", "say how many rows each {k} has", "count them by {k}"),
    "weigh": ("add up the {c} for each {k}", "give the sum of {c} by {k}", "give the total {c} per {k}"),
    "level": ("give the average {c} for each {k}", "average the {c} by {k}", "give the mean {c} per {k}"),
    "peak": ("give the largest {c} for each {k}", "find the highest {c} by {k}", "give the maximum {c} per {k}"),
    "ebb": ("give the smallest {c} for each {k}", "find the lowest {c} by {k}", "give the minimum {c} per {k}"),
}
_CHARGE = ("take the {t}", "start from the {t}", "load the {t}", "use the {t}", "look at the {t}")
_KEEP = ("keep those where {x}", "keep only rows where {x}", "keep the ones whose {x}", "only where {x}")
_DROP = (
    "leave out those where {x}",
    "drop the rows where {x}",
    "throw away the ones whose {x}",
    "remove rows where {x}",
)
_DOWN = ("sort by {c} from high to low", "order by {c}, largest first", "sort by {c} descending")
_UP = ("sort by {c} from low to high", "order by {c}, smallest first", "sort by {c} ascending")
_FIRST = ("keep the first {n}", "show the first {n}", "take the top {n}", "only the first {n}")
_LAST = ("keep the last {n}", "show the last {n}", "take the bottom {n}", "only the last {n}")
_DRAW = ("show only {x}", "keep the columns {x}", "show just the {x}", "list the {x}")
_BRAND = ("mark those where {x} as {w}", "brand as {w} the rows where {x}", "label {w} the ones whose {x}")
_MELT = ("list the different values of {c}", "show each {c} once", "give the distinct {c}")
_WELD = ("join the {t} by {c}", "look up the {t} by {c}", "add the columns of {t} by {c}")
_POUR = ("send the result to {p}", "pass it on to {p}", "send it to {p}", "deliver it to {p}")
_OPERATORS = {
    "plus": ("{a} plus {b}", "the sum of {a} and {b}"),
    "minus": ("{a} minus {b}", "{a} less {b}"),
    "times": ("{a} times {b}", "{a} multiplied by {b}"),
}
_FORGE = ("make a column {c} that is {x}", "work out {c} as {x}", "add a column {c}, {x}")


def say_test(rng: Random, test: Clause) -> str:
    """'total is over 50'."""
    return f"{test.column} {rng.choice(RELATION_WORDS[test.relation]).format(v=value_text(test.value))}"


def say_condition(rng: Random, condition: Condition) -> str:
    """'total is over 50 and city is oslo'."""
    return f" {condition.joiner} ".join(say_test(rng, test) for test in condition.tests)


def say_measure(rng: Random, measure: Measure) -> str:
    """'add up the total'."""
    return rng.choice(MEASURE_WORDS[measure.kind]).format(c=measure.column)


def say(rng: Random, statement: Statement) -> str:
    """One statement as an instruction in plain English, without a capital or a full stop."""
    match statement:
        case Charge(table):
            return rng.choice(_CHARGE).format(t=table)
        case Sift(condition, keep):
            return rng.choice(_KEEP if keep else _DROP).format(x=say_condition(rng, condition))
        case Rank(column, direction):
            return rng.choice(_DOWN if direction == "down" else _UP).format(c=column)
        case Skim(count, first):
            return rng.choice(_FIRST if first else _LAST).format(n=count)
        case Draw(columns):
            return rng.choice(_DRAW).format(x=listed(columns))
        case Forge():
            return _say_forge(rng, statement)
        case Brand(word, condition):
            return rng.choice(_BRAND).format(w=word, x=say_condition(rng, condition))
        case Melt(column):
            return rng.choice(_MELT).format(c=column)
        case Stack(column, measure):
            return rng.choice(GROUP_WORDS[measure.kind]).format(k=column, c=measure.column)
        case Weld(table, column):
            return rng.choice(_WELD).format(t=table, c=column)
        case Measure():
            return say_measure(rng, statement)
        case Pour():
            return _say_pour(rng, statement)


def say_all(rng: Random, statements: Sequence[Statement]) -> list[str]:
    """The instructions of a program; a ranking before `skim` is often said in one with it."""
    said: list[str] = []
    for index, statement in enumerate(statements):
        before = statements[index - 1] if index else None
        if isinstance(before, Rank) and isinstance(statement, Skim) and statement.first and rng.random() < 0.5:
            edge = rng.choice(("highest", "largest") if before.direction == "down" else ("lowest", "smallest"))
            said[-1] = rng.choice(("keep", "show", "take")) + f" the {statement.count} with the {edge} {before.column}"
        else:
            said.append(say(rng, statement))
    return said


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _say_forge(rng: Random, forge: Forge) -> str:
    left, right = (value_text(side) for side in (forge.left, forge.right))
    made = rng.choice(_OPERATORS[forge.operator]).format(a=left, b=right)
    return rng.choice(_FORGE).format(c=forge.column, x=made)


def _say_pour(rng: Random, pour: Pour) -> str:
    sent = rng.choice(_POUR).format(p=pour.place)
    if pour.relation is None or pour.number is None:
        return sent
    relation = rng.choice(RELATION_WORDS[pour.relation]).format(v=number_text(pour.number))
    return f"{sent} when the size {relation}"
