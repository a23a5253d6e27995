"""Tournaments as text: who beats whom how often, and how far the judge can be followed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bloomery.core.intervals import Interval
from bloomery.evals.beside import Standings

NAMES = ("Model", "Beats the others", "95 % interval", "Won", "Lost", "Tied")


def rows(found: Standings) -> list[tuple[str, ...]]:
    """One row a model under `NAMES`, the strongest first."""
    if found.tournament is None:
        return []
    ranked = sorted(found.tournament.standings, key=lambda one: -one.win_rate.estimate)
    return [
        (
            one.model,
            f"{one.win_rate.estimate:.1%}",
            _bounds(one.win_rate),
            f"{one.wins:g}",
            f"{one.losses:g}",
            f"{one.ties}",
        )
        for one in ranked
    ]


def said(found: Standings) -> list[str]:
    """Sentences without a full stop: what was judged, and how much the order of the answers decided."""
    counted = f"{found.pairs:,} pairs of answers to {found.prompts:,} prompts, each judged in both orders"
    if found.tournament is None:
        return [f"{counted}; none has a verdict: {found.why}"]
    lean, turned = found.tournament.position_bias, found.tournament.swapped
    told = [
        counted,
        f"the order decided {turned:.1%} of them, which count as ties; the answer shown first is preferred by"
        f" {100 * lean.estimate:+.1f} points {_bounds(lean.scaled(100), '', 1)}",
    ]
    if found.unjudged:
        told.append(f"{found.unjudged:,} have no verdict and count for nobody, most of them because: {found.why}")
    return told


def lines(tables: Sequence[Standings]) -> list[str]:
    """All of it for a terminal."""
    told = []
    for found in tables:
        told.append(f"{found.suite}: the answers beside each other")
        told += [
            f"  {name:28} {rate:>7} {bounds:24} won {won}, lost {lost}, tied {tied}"
            for name, rate, bounds, won, lost, tied in rows(found)
        ]
        told += [f"  {one}" for one in said(found)]
    return told


def to_json(found: Standings) -> dict[str, Any]:
    """Plain JSON without any row."""
    head = {"suite": found.suite, "models": list(found.models), "prompts": found.prompts, "pairs": found.pairs}
    if found.tournament is None:
        return head | {"unjudged": found.unjudged, "standings": [], "position_bias": None, "swapped": None}
    standings = [asdict(one) | {"win_rate": _plain(one.win_rate)} for one in found.tournament.standings]
    bias, swapped = _plain(found.tournament.position_bias), found.tournament.swapped
    return head | {
        "unjudged": found.unjudged,
        "standings": standings,
        "position_bias": bias,
        "swapped": swapped,
    }


def _bounds(found: Interval, unit: str = "%", digits: int = 1) -> str:
    if not math.isfinite(found.low):
        return "(too few to tell)"
    factor = 100 if unit else 1
    return f"({factor * found.low:.{digits}f}{unit} to {factor * found.high:.{digits}f}{unit})"


def _plain(found: Interval) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(found).items()}
