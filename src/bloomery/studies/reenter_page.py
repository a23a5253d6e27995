"""The page of a re-entry: what the domain costs in general text and in abilities, candidate by candidate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bloomery.evals.charts import linear, ticks
from bloomery.evals.html import Markup, el, svg
from bloomery.evals.page import document
from bloomery.evals.sections import table
from bloomery.studies.front import Standing

if TYPE_CHECKING:
    from bloomery.studies.reenter_report import ReenterResult

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 890, 380, 70, 44, 40, 24


def to_html(result: ReenterResult) -> str:
    """The whole page, self-contained."""
    title = f"{result.reentry.run.name} back to {result.reentry.later}"
    return document(
        f"{title} · Bloomery re-entry",
        el("header", el("p", "Bloomery re-entry", class_="overline"), el("h1", title),
           el("p", result.said[0], class_="headline"), [el("p", line, class_="verdict") for line in result.said[1:]]),
        el("section", el("h2", "What the domain costs"),
           el("figure", scatter(result, "general text, % more bits", lambda one: one.general)),
           el("figure", scatter(result, "graded scores, points lost", lambda one: one.abilities))),
        el("section", el("h2", "Every model"), table("Every model", result.headings, result.rows)),
    )  # fmt: skip


def scatter(result: ReenterResult, title: str, cost: Callable[[Standing], float]) -> Markup:
    """Domain against a cost, both changes against the published checkpoint; lower and further left is better.

    Full dots are on the front, joined by a line in the order of their domain; hollow ones are not.
    """
    points = [(one, 100 * one.domain, 100 * cost(one)) for one in result.standings]
    x = _scale([p[1] for p in points], LEFT, WIDTH - RIGHT)
    y = _scale([p[2] for p in points], HEIGHT - BOTTOM, TOP)
    ahead = sorted((p[1:] for p in points if p[0].name in result.on_front), key=lambda p: p[0])
    line = " ".join(f"{x[0](a):.1f},{y[0](b):.1f}" for a, b in ahead)
    label = f"{title} against domain: " + "; ".join(f"{one.name} {a:+.1f} %, {b:+.1f}" for one, a, b in points)
    return svg(
        WIDTH, HEIGHT, label,
        el("text", f"{title} (up) against domain, % bits (right)", class_="chart-title", x=0, y=16),
        [el("g", el("line", class_="grid", x1=x[0](t), x2=x[0](t), y1=TOP, y2=HEIGHT - BOTTOM),
            el("text", f"{t:+g}", class_="tick", x=x[0](t), y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
         for t in ticks(*x[1])],
        [el("g", el("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y[0](t), y2=y[0](t)),
            el("text", f"{t:+g}", class_="tick", x=LEFT - 8, y=y[0](t) + 4, text_anchor="end")) for t in ticks(*y[1])],
        el("polyline", points=line, class_="front", fill="none") if len(ahead) > 1 else None,
        [_dot(one, x[0](a), y[0](b), one.name in result.on_front, one is result.winner) for one, a, b in points],
    )  # fmt: skip


def _scale(values: list[float], start: float, end: float) -> tuple[Callable[[float], float], tuple[float, float]]:
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 1.0
    bounds = low - room, high + room
    return linear(*bounds, start, end), bounds


def _dot(one: Standing, x: float, y: float, ahead: bool, winner: bool) -> Markup:
    tone = "good" if winner else "flat"
    mark = el("circle", el("title", one.name), class_="dot" if ahead else "hollow", cx=x, cy=y, r=7 if winner else 5)
    near_end = x > WIDTH - 160
    name = el("text", one.name, class_="tick", x=x - 9 if near_end else x + 9, y=y - 7,
              text_anchor="end" if near_end else "start")  # fmt: skip
    return el("g", mark, name, class_=f"tone-{tone}")
