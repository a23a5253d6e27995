"""Drawings of a classifier: whether its confidence is kept, and what answering less would spare."""

from __future__ import annotations

import numpy as np

from bloomery.evals.charts import Scale, linear, ticks
from bloomery.evals.html import Markup, el, svg
from bloomery.review.measures import bins, ece
from bloomery.review.scores import Array
from bloomery.review.selective import risk_curve

SIZE, EDGE = 320, 46


def reliability(confidence: Array, right: Array, name: str) -> Markup:
    """Bins of confidence against how often they were right; on the diagonal it is kept. Dots grow with their texts."""
    x, y = linear(0, 1, EDGE, SIZE - 10), linear(0, 1, SIZE - EDGE, 24)
    found = bins(confidence, right)
    dots = [
        el(
            "g",
            el("line", class_="whisker", x1=x(b.confidence), x2=x(b.confidence), y1=y(b.confidence), y2=y(b.right)),
            el("circle", class_="dot", cx=x(b.confidence), cy=y(b.right), r=2 + 9 * (b.count / len(right)) ** 0.5),
            class_="tone-unclear",
        )
        for b in found
    ]
    diagonal = el("line", class_="zero", x1=x(0), y1=y(0), x2=x(1), y2=y(1))
    label = f"reliability of {name}, ECE {ece(confidence, right):.3f}: " + "; ".join(
        f"{b.count:,} texts at {b.confidence:.0%} were right {b.right:.0%}" for b in found
    )
    return svg(SIZE, SIZE, label, _axes(x, y, 1.0, "confidence", "right"), diagonal, dots, class_="reliability")


def risk_coverage(confidence: Array, right: Array, name: str) -> Markup:
    """Part of the answers that are wrong against the part of the texts that is answered, the surest first."""
    curve = risk_curve(confidence, right)
    top = max(float(curve.risk[curve.coverage >= 0.05].max(initial=0.0)), 0.01) * 1.1
    x, y = linear(0, 1, EDGE, SIZE - 10), linear(0, top, SIZE - EDGE, 24)
    kept = np.unique(np.linspace(0, len(curve.risk) - 1, 200).astype(int))
    shown = [k for k in kept.tolist() if curve.coverage[k] >= 0.05]
    points = " ".join(f"{x(float(curve.coverage[k])):.1f},{y(float(curve.risk[k])):.1f}" for k in shown)
    line = el("polyline", points=points, fill="none", stroke="currentColor", stroke_width=2)
    mark = el("line", class_="limit", x1=x(0.8), x2=x(0.8), y1=24, y2=SIZE - EDGE)
    label = f"risk of {name} by coverage: {curve.risk_at(0.8):.1%} at 80 %, area {curve.area:.3f}"
    return svg(SIZE, SIZE, label, _axes(x, y, top, "answered", "wrong"), mark, line, class_="risk")


def _axes(x: Scale, y: Scale, top: float, below: str, beside: str) -> Markup:
    lines = []
    for t in ticks(0, 1, 4):
        lines += [el("line", class_="grid", x1=x(t), x2=x(t), y1=24, y2=SIZE - EDGE)]
        lines += [el("text", f"{t:.0%}", class_="tick", x=x(t), y=SIZE - EDGE + 16, text_anchor="middle")]
    for t in ticks(0, top, 4):
        lines += [el("line", class_="grid", x1=EDGE, x2=SIZE - 10, y1=y(t), y2=y(t))]
        lines += [el("text", f"{t:.0%}", class_="tick", x=EDGE - 6, y=y(t) + 4, text_anchor="end")]
    lines += [el("text", below, class_="tick", x=SIZE / 2, y=SIZE - 8, text_anchor="middle")]
    return el("g", lines, el("text", beside, class_="tick", x=4, y=14))
