"""Micro-runs as a queue that resumes: their folders are its state, each named after what it trains.

What was asked before, by the same study or another one on the same recipe, is read back; the rest runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.files import canonical_hash
from bloomery.recipes.load import Loaded
from bloomery.studies.micro import Point, micro_run, shortened

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One micro-run: how a person calls it, and the `key=value` overrides that set it apart."""

    told: str
    overrides: tuple[str, ...]


def run_queue(loaded: Loaded, asked: Sequence[Asked], root: Path, say: Say) -> list[list[Point]]:
    """The points of every micro-run, in order; a line of progress for each.

    Raises `InputError` naming the micro-run that is refused.
    """
    found = []
    began, trained = time.monotonic(), 0
    for number, one in enumerate(asked, 1):
        folder = root / _name(loaded, one)
        fresh = not (folder / "points.json").is_file()
        try:
            points = micro_run(loaded, one.overrides, folder)
        except InputError as error:
            raise InputError(f"micro-run `{one.told}`: {error.message}", where=error.where, fix=error.fix) from None
        trained += fresh
        left = (time.monotonic() - began) / max(trained, 1) * (len(asked) - number) if trained else 0.0
        say(f"{number} of {len(asked)}: {one.told}: {_result(points)}" + (_left(left) if fresh else ", read back"))
        found.append(points)
    return found


def tokens_of(runs: Sequence[Sequence[Point]]) -> int:
    """Tokens that different micro-runs trained on, all together."""
    return sum({points[-1].run: points[-1].tokens for points in runs}.values())


def _name(loaded: Loaded, one: Asked) -> str:
    plain = re.sub(r"[^a-z0-9.]+", "-", one.told.lower()).strip("-")[:60]
    return f"{plain}-{canonical_hash(shortened(loaded, one.overrides).text())[:8]}"


def _result(points: Sequence[Point]) -> str:
    start, end = points[0], points[-1]
    pairs = (("domain", start.domain, end.domain), ("general", start.general, end.general))
    return ", ".join(f"{name} {after:.4g} ({after / before - 1:+.1%})" for name, before, after in pairs)


def _left(seconds: float) -> str:
    return f", about {seconds / 60:,.0f} min left" if seconds >= 60 else ""
