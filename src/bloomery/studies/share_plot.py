"""Loss against the domain's share: what was measured as dots, a law or the way between them as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bloomery.evals.charts import Scale, linear, ticks
from bloomery.evals.course import line
from bloomery.evals.html import Markup, el, svg

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 890, 64, 870, 44, 264


@dataclass(frozen=True, slots=True)
class Series:
    """Points (share, loss) that belong together; `line` is drawn through other points than the dots."""

    name: str
    dots: Sequence[tuple[float, float]]
    line: Sequence[tuple[float, float]]


def share_plot(title: str, series: Sequence[Series], chosen: float | None = None) -> Markup:
    """One drawing; `chosen` marks a share with a dashed line."""
    every = [loss for one in series for _, loss in [*one.dots, *one.line]]
    room = 0.08 * ((max(every) - min(every)) or 0.1)
    low, high = min(every) - room, max(every) + room
    x, y = linear(0, 1, LEFT, RIGHT), linear(low, high, BOTTOM, TOP)
    shown = [
        el(
            "g",
            line([(x(share), y(loss)) for share, loss in sorted(one.line)], "held"),
            [_dot(one.name, x, y, share, loss) for share, loss in one.dots],
            class_=f"series-{number % 3}",
        )
        for number, one in enumerate(series)
    ]
    mark = None
    if chosen is not None:
        mark = el("g", el("line", class_="limit", x1=x(chosen), x2=x(chosen), y1=TOP, y2=BOTTOM),
                  el("text", f"{chosen:.0%}", class_="limit-said", x=x(chosen) + 5, y=TOP + 12))  # fmt: skip
    return svg(
        WIDTH, BOTTOM + 40, title,
        el("text", title, class_="chart-title", x=0, y=14), _legend(series),
        [_level(y, value) for value in ticks(low, high, 5)],
        [_share(x, k / 10) for k in range(11)],
        el("text", "domain share of all tokens", class_="tick", x=RIGHT, y=BOTTOM + 36, text_anchor="end"),
        mark, shown,
    )  # fmt: skip


def _dot(name: str, x: Scale, y: Scale, share: float, loss: float) -> Markup:
    return el(
        "circle", el("title", f"{name}, {share:.0%}: {loss:.4g}"), class_="held-dot", cx=x(share), cy=y(loss), r=4
    )


def _level(y: Scale, value: float) -> Markup:
    grid = el("line", class_="grid", x1=LEFT, x2=RIGHT, y1=y(value), y2=y(value))
    return el("g", grid, el("text", f"{value:.4g}", class_="tick", x=LEFT - 8, y=y(value) + 4, text_anchor="end"))


def _share(x: Scale, share: float) -> Markup:
    return el("text", f"{share:.0%}", class_="tick", x=x(share), y=BOTTOM + 18, text_anchor="middle")


def _legend(series: Sequence[Series]) -> list[Markup]:
    made, at = [], float(RIGHT)
    for number, one in reversed([*enumerate(series)]):
        at -= 6.6 * len(one.name)
        dot = el("circle", class_="held-dot", cx=at - 10, cy=26, r=4)
        made.append(el("g", dot, el("text", one.name, class_="tick", x=at, y=30), class_=f"series-{number % 3}"))
        at -= 30
    return made
