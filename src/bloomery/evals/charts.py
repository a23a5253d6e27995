"""Small drawings of intervals: one figure on a card, arms beside each other, before and after of a skill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bloomery.core.intervals import Interval
from bloomery.evals.html import Markup, el, svg

Scale = Callable[[float], float]


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Maps [low, high] to [start, end]."""
    width = (high - low) or 1.0
    return lambda value: start + (value - low) / width * (end - start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high: steps of 1, 2 or 5 times a power of ten."""
    raw = max(high - low, 1e-12) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def span(intervals: Sequence[Interval], also: Sequence[float] = (0.0,)) -> tuple[float, float]:
    """A range that shows all the intervals, zero and `also`, with room at the ends."""
    ends = [x for i in intervals for x in (i.low, i.high, i.estimate) if math.isfinite(x)] + list(also)
    low, high = min(ends), max(ends)
    room = 0.08 * ((high - low) or 0.02)
    return low - room, high + room


def strip(change: Interval, tone: str, limit: float | None, label: str) -> Markup:
    """One interval against zero, and against its budget where there is one."""
    x = linear(*span([change], [0.0] if limit is None else [0.0, limit]), 4, 196)
    return svg(
        200, 26, label,
        el("line", class_="rail", x1=4, x2=196, y1=13, y2=13),
        el("line", class_="zero", x1=x(0), x2=x(0), y1=2, y2=24),
        None if limit is None else el("line", class_="limit", x1=x(limit), x2=x(limit), y1=2, y2=24),
        whisker(x, change, 13, tone),
        class_="strip",
    )  # fmt: skip


def whisker(x: Scale, change: Interval, y: float, tone: str) -> Markup:
    """The interval as a thick line, the estimate as a dot."""
    known = math.isfinite(change.low) and math.isfinite(change.high)
    line = el("line", class_="whisker", x1=x(change.low), x2=x(change.high), y1=y, y2=y) if known else None
    return el("g", line, el("circle", class_="dot", cx=x(change.estimate), cy=y, r=5), class_=f"tone-{tone}")


@dataclass(frozen=True, slots=True)
class Bar:
    """One arm's change: what it is called, its interval, how it reads, and its tone."""

    name: str
    change: Interval
    said: str
    tone: str
    strong: bool = False
    """The arm that the report is about."""


LEFT, WIDTH, ROW, TOP = 170, 890, 44, 48


def arms_chart(title: str, bars: Sequence[Bar], limit: float | None, limit_said: str) -> Markup:
    """Arms under each other: bars from zero with their intervals, and the budget as a dashed line."""
    height = TOP + ROW * len(bars) + 30
    low, high = span([bar.change for bar in bars], [0.0] if limit is None else [0.0, limit])
    x = linear(low, high, LEFT + 60, WIDTH - 76)
    marks = [_tick(t, x(t), height) for t in ticks(low, high)]
    rows = [_bar(bar, x, TOP + ROW * (number + 0.5)) for number, bar in enumerate(bars)]
    budget = None
    if limit is not None:
        budget = el("g", el("line", class_="limit", x1=x(limit), x2=x(limit), y1=TOP - 6, y2=height - 26),
                    el("text", limit_said, class_="limit-said", x=x(limit) + 6, y=TOP + 4))  # fmt: skip
    zero = el("line", class_="zero", x1=x(0), x2=x(0), y1=TOP - 6, y2=height - 26)
    label = f"{title}: " + "; ".join(f"{bar.name} {bar.said}" for bar in bars)
    return svg(WIDTH, height, label, el("text", title, class_="chart-title", x=0, y=16), marks, zero, rows, budget)


def _tick(value: float, x: float, height: float) -> Markup:
    said = f"{100 * value:+.3g} %".replace("-", "\u2212") if value else "0"
    grid = el("line", class_="grid", x1=x, x2=x, y1=TOP - 6, y2=height - 26)
    return el("g", grid, el("text", said, class_="tick", x=x, y=height - 8, text_anchor="middle"))


def _bar(bar: Bar, x: Scale, y: float) -> Markup:
    start, end = sorted((x(0), x(bar.change.estimate)))
    left = bar.change.estimate < 0
    ends = [v for v in (bar.change.low, bar.change.high, bar.change.estimate, 0.0) if math.isfinite(v)]
    at, anchor = (x(min(ends)) - 12, "end") if left else (x(max(ends)) + 12, "start")
    return el(
        "g",
        el("text", bar.name, class_="name strong" if bar.strong else "name", x=LEFT - 14, y=y + 4, text_anchor="end"),
        el("rect", class_="bar", x=start, y=y - 10, width=max(end - start, 1), height=20, rx=2),
        whisker(x, bar.change, y, bar.tone),
        el("text", bar.said, class_="said strong" if bar.strong else "said", x=at, y=y + 4, text_anchor=anchor),
        class_=f"tone-{bar.tone}" + ("" if bar.strong else " faint"),
    )


def dumbbell(before: float, after: float, tone: str, label: str) -> Markup:
    """A score before (hollow) and after (full) on a scale from 0 to 1."""
    x = linear(0, 1, 6, 154)
    return svg(
        160, 18, label,
        el("line", class_="rail", x1=6, x2=154, y1=9, y2=9),
        el("g", el("line", class_="whisker", x1=x(before), x2=x(after), y1=9, y2=9),
           el("circle", class_="hollow", cx=x(before), cy=9, r=4.5),
           el("circle", class_="dot", cx=x(after), cy=9, r=4.5), class_=f"tone-{tone}"),
        class_="dumbbell",
    )  # fmt: skip


def shares(parts: Sequence[tuple[str, int, str]], label: str) -> Markup:
    """A bar cut in proportion to counts, each with its name and class."""
    total = sum(n for _, n, _ in parts) or 1
    made, at = [], 0.0
    for name, n, class_ in parts:
        width = 720 * n / total
        if n:
            made.append(
                el(
                    "rect",
                    el("title", f"{name}: {n:,}"),
                    class_=class_,
                    x=at,
                    y=0,
                    width=max(width - 1.5, 1),
                    height=14,
                    rx=2,
                )
            )
        at += width
    return svg(720, 14, label, made, class_="shares")
