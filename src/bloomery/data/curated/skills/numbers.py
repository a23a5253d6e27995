"""Arithmetic and order of small numbers."""

from __future__ import annotations

import random

from bloomery.data.curated.skills.problem import Problem, joined, phrase

_SUM = (
    "What is {a} + {b}?", "Add {a} and {b}.", "{a} + {b} =", "Compute {a} plus {b}.", "How much is {a} + {b}?",
    "What do you get when you add {b} to {a}?",
)  # fmt: skip
_DIFFERENCE = (
    "What is {a} - {b}?", "Subtract {b} from {a}.", "{a} - {b} =", "Compute {a} minus {b}.", "How much is {a} - {b}?",
    "Take {b} away from {a}. What is left?",
)  # fmt: skip
_PRODUCT = (
    "What is {a} x {b}?", "Multiply {a} by {b}.", "{a} x {b} =", "Compute {a} times {b}.", "How much is {a} x {b}?",
)  # fmt: skip
_LARGEST = (
    "Which number is the largest: {list}?", "Find the largest of these numbers: {list}.",
    "What is the maximum of {list}?", "Pick the biggest number: {list}",
)  # fmt: skip
_SMALLEST = (
    "Which number is the smallest: {list}?", "Find the smallest of these numbers: {list}.",
    "What is the minimum of {list}?", "Pick the smallest number: {list}",
)  # fmt: skip
_ASCENDING = (
    "Sort these numbers: {list}", "Put these numbers in order, smallest first: {list}",
    "Order from small to large: {list}", "Sort in ascending order: {list}",
)  # fmt: skip
_DESCENDING = (
    "Sort these numbers, largest first: {list}", "Order from large to small: {list}",
    "Sort in descending order: {list}",
)  # fmt: skip


def addition(rng: random.Random) -> Problem:
    """Sums of numbers below 100."""
    a, b = rng.randrange(100), rng.randrange(rng.choice((10, 100)))
    low, high = a % 10 + b % 10, a // 10 + b // 10
    carry = f", carry {low // 10}" if low > 9 else ""
    steps = f"ones: {a % 10} + {b % 10} = {low}{carry}; tens: {a // 10} + {b // 10} + {low // 10} = {high + low // 10}"
    return Problem(f"{min(a, b)}+{max(a, b)}", phrase(rng, _SUM, a=a, b=b), str(a + b), steps)


def subtraction(rng: random.Random) -> Problem:
    """Differences of numbers below 100, never negative."""
    b, a = sorted((rng.randrange(100), rng.randrange(rng.choice((10, 100)))))
    borrow = a % 10 < b % 10
    ones = f"1{a % 10}" if borrow else f"{a % 10}"
    tens = a // 10 - borrow
    steps = f"ones: {ones} - {b % 10} = {int(ones) - b % 10}; tens: {tens} - {b // 10} = {tens - b // 10}"
    return Problem(f"{a}-{b}", phrase(rng, _DIFFERENCE, a=a, b=b), str(a - b), steps)


def multiplication(rng: random.Random) -> Problem:
    """One digit times a number below 100; the answer shows the two partial products, its last number counts."""
    a, b = rng.randrange(2, 100), rng.randrange(2, 10)
    if a < 10:
        steps = f"{a} x {b} = {a * b}"
    else:
        steps = f"{a // 10 * 10} x {b} = {a // 10 * 10 * b}; {a % 10} x {b} = {a % 10 * b}"
    answer = f"{a * b}" if a < 10 else f"{a // 10 * 10 * b} + {a % 10 * b} = {a * b}"
    metadata = {"grader": "number", "number": a * b}
    return Problem(f"{min(a, b)}x{max(a, b)}", phrase(rng, _PRODUCT, a=a, b=b), answer, steps, metadata)


def comparison(rng: random.Random) -> Problem:
    """The largest or smallest of two to four numbers."""
    numbers = _different(rng, rng.randint(2, 4), rng.choice((100, 1000)))
    largest = rng.random() < 0.5
    prompt = phrase(rng, _LARGEST if largest else _SMALLEST, list=joined(numbers))
    answer = max(numbers) if largest else min(numbers)
    return Problem(f"{largest} {joined(numbers)}", prompt, str(answer), f"in order: {joined(sorted(numbers))}")


def sort_numbers(rng: random.Random) -> Problem:
    """Three to five numbers below 100 in order."""
    numbers = _different(rng, rng.randint(3, 5), 100)
    descending = rng.random() < 0.3
    ordered = sorted(numbers, reverse=descending)
    prompt = phrase(rng, _DESCENDING if descending else _ASCENDING, list=joined(numbers))
    steps = f"{'largest' if descending else 'smallest'} {ordered[0]}, last {ordered[-1]}"
    return Problem(f"{descending} {joined(numbers)}", prompt, joined(ordered), steps)


def _different(rng: random.Random, count: int, below: int) -> list[int]:
    return rng.sample(range(below), count)
