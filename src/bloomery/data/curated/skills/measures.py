"""Dates, weekdays and units."""

from __future__ import annotations

import random

from bloomery.data.curated.skills.problem import Problem, phrase
from bloomery.data.curated.skills.words import MONTH_DAYS, MONTHS, WEEKDAYS

_DATE = (
    "What date is {n} {days} after {date}?", "Which date comes {n} {days} after {date}?", "{date} plus {n} {days} is",
    "Today is {date}. What is the date in {n} {days}?",
)  # fmt: skip
_WEEKDAY = (
    "{date} is a {day}. What weekday is {later}?", "If {date} is a {day}, which day of the week is {later}?",
    "Today is {day}, {date}. What day is {later}?",
)  # fmt: skip
_CONVERT = (
    "How many {to} are {n} {unit}?", "Convert {n} {unit} to {to}.", "{n} {unit} in {to} is",
    "Express {n} {unit} in {to}.",
)  # fmt: skip

UNITS = (
    ("metres", "centimetres", 100), ("kilometres", "metres", 1000), ("kilograms", "grams", 1000),
    ("litres", "millilitres", 1000), ("centimetres", "millimetres", 10), ("tonnes", "kilograms", 1000),
    ("euros", "cents", 100), ("seconds", "milliseconds", 1000),
)  # fmt: skip


def dates(rng: random.Random) -> Problem:
    """The date one to nine days later, in a year of 365 days."""
    month, ahead = rng.randrange(12), rng.randint(1, 9)
    day = rng.randint(1, MONTH_DAYS[month])
    date, later = _date(month, day), _later(month, day, ahead)
    days = "day" if ahead == 1 else "days"
    over = day + ahead - MONTH_DAYS[month]
    wrapped = f"; {MONTHS[month]} has {MONTH_DAYS[month]} days, {over} over" if over > 0 else ""
    steps = f"{day} + {ahead} = {day + ahead}{wrapped}"
    return Problem(f"{date} + {ahead}", phrase(rng, _DATE, n=ahead, days=days, date=date), later, steps)


def weekdays(rng: random.Random) -> Problem:
    """The weekday of a date up to six days after a known one in the same month."""
    month, ahead, weekday = rng.randrange(12), rng.randint(1, 6), rng.randrange(7)
    day = rng.randint(1, MONTH_DAYS[month] - ahead)
    date, later = _date(month, day), _date(month, day + ahead)
    answer = WEEKDAYS[(weekday + ahead) % 7]
    steps = f"{day + ahead} - {day} = {ahead}; {ahead} after {WEEKDAYS[weekday]} is {answer}"
    prompt = phrase(rng, _WEEKDAY, date=date, day=WEEKDAYS[weekday], later=later)
    return Problem(f"{date} {weekday} {ahead}", prompt, answer, steps)


def units(rng: random.Random) -> Problem:
    """Metric conversions by a power of ten, both ways, numbers below 100."""
    large, small, factor = rng.choice(UNITS)
    n = rng.randint(1, 99)
    if rng.random() < 0.6:
        steps, source, target, given, answer = f"1 {large} = {factor} {small}", large, small, n, n * factor
    else:
        steps, source, target, given, answer = f"{factor} {small} = 1 {large}", small, large, n * factor, n
    prompt = phrase(rng, _CONVERT, n=given, unit=source, to=target)
    return Problem(f"{given} {source} {target}", prompt, f"{answer} {target}", steps)


def _date(month: int, day: int) -> str:
    return f"{day} {MONTHS[month]}"


def _later(month: int, day: int, ahead: int) -> str:
    over = day + ahead - MONTH_DAYS[month]
    return _date((month + 1) % 12, over) if over > 0 else _date(month, day + ahead)
