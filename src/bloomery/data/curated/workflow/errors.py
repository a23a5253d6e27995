"""The one error of the language: line, what was found, what was expected, the nearest known word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from bloomery.core.errors import BloomeryError

LONGEST_SHOWN = 40
"""Characters of a wrong token that an error repeats; longer ones are cut, so that messages stay short."""


class WorkflowError(BloomeryError, ValueError):
    """A program that cannot be read or run; says enough for its writer, person or model, to repair it.

    `line` counts from 1 in the program's text. `nearest` is the known word closest to `found`, or None.
    """

    exit_status = 2

    def __init__(self, line: int, found: str, expected: str, known: Iterable[str] = ()) -> None:
        self.line, self.found, self.expected = line, found[:LONGEST_SHOWN], expected
        close = difflib.get_close_matches(self.found, list(known), n=1, cutoff=0.5)
        self.nearest = close[0] if close else None
        hint = f"; nearest is `{self.nearest}`" if self.nearest else ""
        super().__init__(f"line {line}: found `{self.found}`, expected {expected}{hint}")

    def __reduce__(self) -> tuple[type[WorkflowError], tuple[int, str, str, tuple[str, ...]]]:
        """Errors travel between processes: rebuilt from their fields, not from the finished message."""
        return WorkflowError, (self.line, self.found, self.expected, (self.nearest,) if self.nearest else ())
