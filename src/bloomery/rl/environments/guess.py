"""Find a number between two bounds; every guess is answered by `higher` or `lower`."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bloomery.core.errors import InputError

_NUMBER = re.compile(r"-?\d{1,9}")


class Guess:
    """The number follows from the seed, so that the rollouts of one task look for the same. Right: `1 - cost * guesses
    before`, at least 0.1; an answer without a number costs a guess as well."""

    def __init__(self, low: int = 1, high: int = 10, cost: float = 0.1) -> None:
        if not low < high:
            raise InputError(f"`low: {low}`, `high: {high}` leave nothing to guess", fix="set `high` above `low`")
        self._low, self._high, self._cost = low, high, cost
        self._secret = self._guesses = 0

    @classmethod
    def tasks(cls, rows: int, low: int = 1, high: int = 10, cost: float = 0.1) -> Iterator[dict[str, Any]]:
        """The same question over and over; each has a number of its own."""
        made = cls(low, high, cost)
        for number in range(rows):
            yield {"id": f"guess:{number}", "messages": made.asked(), "metadata": {"low": low, "high": high}}

    def asked(self) -> list[dict[str, str]]:
        """How the game begins."""
        return [{"role": "user", "content": f"Guess my number between {self._low} and {self._high}."}]

    def reset(self, row: Mapping[str, Any], seed: int) -> list[dict[str, str]]:
        """Think of a number."""
        self._secret, self._guesses = random.Random(seed).randint(self._low, self._high), 0
        return self.asked()

    def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, str]], float, bool, dict[str, Any]]:
        """Compare the first number of an answer."""
        found = _NUMBER.search(str(message["content"]))
        guess = int(found[0]) if found else None
        if guess == self._secret:
            return [], max(0.1, 1 - self._cost * self._guesses), True, {}
        self._guesses += 1
        said = "a number" if guess is None else "higher" if guess < self._secret else "lower"
        return [{"role": "user", "content": said}], 0.0, False, {}
