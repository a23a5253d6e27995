"""The page of an active-learning loop: F1 and AUROC against the labels that people gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bloomery.evals.charts import Scale, linear
from bloomery.evals.course import LEFT, RIGHT, WIDTH, grid, line
from bloomery.evals.html import Markup, el, svg
from bloomery.evals.page import document
from bloomery.evals.sections import table

TOP, BOTTOM = 40, 260
SERIES = {"f1": "F1", "auroc": "AUROC"}


def to_html(name: str, rounds: Sequence[Mapping[str, Any]]) -> str:
    """The whole page, self-contained, of rounds as `measured.json` holds them."""
    last = rounds[-1]
    said = f"After {last['labels']:,} labels: F1 {last['f1']:.3f}, AUROC {last['auroc']:.3f}, means over questions"
    heads = ["labels", *(f"{question}, {told}" for question in last["questions"] for told in SERIES.values())]
    rows = [
        [f"{one['labels']:,}", *(f"{one['questions'][q][key]:.3f}" for q in last["questions"] for key in SERIES)]
        for one in rounds
    ]
    return document(
        f"{name} · Bloomery loop",
        el("header", el("p", "Bloomery loop", class_="overline"), el("h1", name), el("p", said, class_="headline")),
        el("section", el("h2", "What labels gave"), el("figure", curve(rounds))),
        el("section", el("h2", "Every round"), table("Every round", heads, rows)),
    )


def curve(rounds: Sequence[Mapping[str, Any]]) -> Markup:
    """Mean F1 and AUROC on rows that were never trained on, by labels; each question's F1 at its best cut there."""
    most = rounds[-1]["labels"]
    x, y = linear(0, most, LEFT, RIGHT), linear(0, 1, BOTTOM, TOP)
    title = "Mean over questions, against labels given"
    return svg(
        WIDTH, BOTTOM + 40, title,
        el("text", title, class_="chart-title", x=0, y=14),
        grid(y, [0, 0.25, 0.5, 0.75, 1], "{:.2g}"),
        [el("text", f"{one['labels']:,}", class_="tick", x=x(one["labels"]), y=BOTTOM + 18, text_anchor="middle")
         for one in rounds],
        [_series(number, key, rounds, x, y) for number, key in enumerate(SERIES)],
    )  # fmt: skip


def _series(number: int, key: str, rounds: Sequence[Mapping[str, Any]], x: Scale, y: Scale) -> Markup:
    points = [(one["labels"], one[key]) for one in rounds]
    name = el("text", SERIES[key], class_="tick", x=LEFT + 10 + 70 * number, y=TOP - 8)
    dots = [
        el("circle", el("title", f"{SERIES[key]} {value:.3f} after {labels:,}"), class_="held-dot", cx=x(labels),
           cy=y(value), r=4)
        for labels, value in points
    ]  # fmt: skip
    key_dot = el("circle", class_="held-dot", cx=LEFT + 2 + 70 * number, cy=TOP - 12, r=4)
    shown = line([(x(labels), y(value)) for labels, value in points], "held")
    return el("g", key_dot, name, shown, dots, class_=f"series-{number}")
