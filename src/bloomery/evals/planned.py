"""The drawing of a training that is only planned: learning rate and blend over its steps."""

from __future__ import annotations

from collections.abc import Sequence

from bloomery.core.rows import Segment
from bloomery.evals.charts import linear
from bloomery.evals.course import LEFT, RIGHT, WIDTH, Span, blend, rate, steps
from bloomery.evals.html import Markup, el, svg
from bloomery.evals.page import document, style

RATE: Span = (28, 128)
BLEND: Span = (176, 236)
NOTE = 18
"""Height of a line of text."""

SPACE = 'xmlns="http://www.w3.org/2000/svg"'
ALONE = "svg { font-family: system-ui, sans-serif; background: var(--paper); color: var(--ink); padding: 12px; }"


def planned(rates: Sequence[tuple[float, float]], segments: Sequence[Segment], notes: Sequence[str]) -> Markup:
    """Two panels under each other, and a line for each of `notes` below; `rates` are learning rates by step."""
    last = max(round(rates[-1][0]), 1)
    x = linear(0, last, LEFT, RIGHT)
    under = BLEND[1] + 60
    said = [el("text", note, class_="name", x=0, y=under + NOTE * number) for number, note in enumerate(notes)]
    label = f"Learning rate and blend over {last:,} steps: {'; '.join(notes)}"
    return svg(
        WIDTH, under + NOTE * len(notes), label,
        steps(x, last, BLEND[1]),
        rate(rates, x, RATE),
        blend(segments, x, last, BLEND),
        said,
    )  # fmt: skip


def as_svg(drawing: Markup) -> str:
    """The drawing as a file of its own, which looks as it does on a page."""
    inner = el("style", Markup(f"{style()}\n{ALONE}"))
    opened, _, rest = drawing.partition(">")
    return f"{opened} {SPACE}>{inner}{rest}\n"


def as_page(drawing: Markup, title: str) -> str:
    """The drawing on a page that loads nothing and runs nothing."""
    return document(f"{title} · plan", el("h1", title), el("section", el("figure", drawing)))
