"""Errors a user can act on.

Every message says what was set, why it cannot work and which key to change, and carries the file
and line where there is one. Exit statuses are those of the command line: 2 bad input, 3 forgetting
budget broken, 4 not proven either way.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a user's file; `line` counts from 1, None where the format has no lines."""

    path: str | Path
    line: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}:{self.line}"


class BloomeryError(Exception):
    """Base of every error we raise on purpose; printed as one paragraph, without a traceback."""

    exit_status = 1

    def __init__(self, message: str, *, where: Where | None = None, fix: str | None = None) -> None:
        self.message, self.where, self.fix = message, where, fix
        super().__init__(message, where, fix)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"\n  fix: {self.fix}" if self.fix else ""
        return f"{place}{self.message}{remedy}"


class InputError(BloomeryError, ValueError):
    """The user's recipe, data, model folder or arguments cannot work as given."""

    exit_status = 2


class DamagedError(BloomeryError):
    """A file of ours is not what its manifest says: truncated, flipped, missing or half written."""

    exit_status = 2


class TrainingError(BloomeryError):
    """Training stopped itself: non-finite loss, gradient or weights. No checkpoint was published from it."""


class BudgetError(BloomeryError):
    """A run finished outside the forgetting budget its recipe states under `keep`."""

    exit_status = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean `x`?)' for the known name closest to `name`, or the list of known names; '' where none are."""
    known = sorted(known)
    if not known:
        return ""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else f" (known: {', '.join(known)})"
