"""The course of a training run, read back from its event log, thinned for drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.events import read_events
from bloomery.core.rows import Segment

MOST_POINTS = 400
"""Points drawn at most: a line of 720 pixels shows no more."""


@dataclass(frozen=True, slots=True)
class Point:
    """One step, or the mean of a few: `loss` in nats a trained token."""

    step: int
    loss: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Loss on held-out rows of one name, by step."""

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """What the plot of a run shows; `tokens` and `seconds` are totals of the log."""

    points: tuple[Point, ...]
    held_out: tuple[HeldOut, ...] = ()
    segments: tuple[Segment, ...] = ()
    tokens: int = 0
    seconds: float = 0.0


def read_curve(events: Path, segments: Sequence[Segment] = ()) -> Curve | None:
    """The curve of an event log, where a resumed run's last word on a step wins; None without steps."""
    steps: dict[int, dict[str, Any]] = {}
    held: dict[str, dict[int, float]] = {}
    for event in read_events(events):
        if event["event"] == "step" and number(event.get("loss")) is not None:
            steps[int(event["step"])] = event
        elif event["event"] == "validate" and number(event.get("loss")) is not None:
            held.setdefault(str(event.get("held_out", "held out")), {})[int(event["step"])] = float(event["loss"])
    if not steps:
        return None
    logged = [steps[step] for step in sorted(steps)]
    points = [Point(int(e["step"]), float(e["loss"]), number(e.get("learning_rate")) or 0.0) for e in logged]
    curves = tuple(HeldOut(name, tuple(sorted(found.items()))) for name, found in held.items())
    tokens = max(int(number(e.get("tokens")) or 0) for e in logged)
    seconds = sum(number(e.get("seconds")) or 0.0 for e in logged)
    return Curve(tuple(thinned(points)), curves, tuple(segments), tokens, seconds)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: each the mean of a run of neighbours, at the last one's step."""
    size = math.ceil(len(points) / most)
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [Point(run[-1].step, sum(p.loss for p in run) / len(run), run[-1].learning_rate) for run in runs]


def number(value: Any) -> float | None:
    """A finite number; the log writes others as strings."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None
