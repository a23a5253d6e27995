"""The drawing of a training run: loss, learning rate and blend over the same steps."""

from __future__ import annotations

from collections.abc import Sequence

from bloomery.core.rows import Segment
from bloomery.evals.charts import Scale, linear, ticks
from bloomery.evals.curve import Curve, HeldOut
from bloomery.evals.html import Markup, el, svg

WIDTH, LEFT, RIGHT = 890, 56, 870
LOSS, RATE, BLEND = (28, 228), (276, 336), (384, 424)
Span = tuple[float, float]
"""Top and bottom of a panel."""

SMOOTH = 0.9
"""Weight of the past in the smoothed line, an exponential mean with its start corrected (Kingma, Ba 2015)."""


def course(curve: Curve) -> Markup:
    """Three panels under each other; the blend is left out where no shares are known."""
    last = max(curve.points[-1].step, 1)
    x = linear(0, last, LEFT, RIGHT)
    bottom = BLEND[1] if curve.segments else RATE[1]
    label = f"Loss from {curve.points[0].loss:.2f} to {curve.points[-1].loss:.2f} nats a token over {last:,} steps"
    return svg(
        WIDTH, bottom + 40, label,
        steps(x, last, bottom),
        _loss(curve, x),
        rate([(p.step, p.learning_rate) for p in curve.points], x, RATE),
        blend(curve.segments, x, last, BLEND) if curve.segments else None,
    )  # fmt: skip


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential mean, unbiased at its start."""
    mean, out = 0.0, []
    for number, value in enumerate(values, 1):
        mean = SMOOTH * mean + (1 - SMOOTH) * value
        out.append(mean / (1 - SMOOTH**number))
    return out


def line(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through pixel positions."""
    return el("polyline", class_=class_, points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def steps(x: Scale, last: int, bottom: float) -> list[Markup]:
    """The axis of steps under panels that end at `bottom`."""
    marks = [
        el("text", f"{t:,.0f}", class_="tick", x=x(t), y=bottom + 18, text_anchor="middle") for t in ticks(0, last, 6)
    ]
    return [*marks, el("text", "step", class_="tick", x=RIGHT, y=bottom + 34, text_anchor="end")]


def _loss(curve: Curve, x: Scale) -> Markup:
    smooth = smoothed([p.loss for p in curve.points])
    held = [value for one in curve.held_out for _, value in one.points]
    # The first steps may be far above the rest: the raw line is clipped rather than the rest flattened.
    low, high = min([*smooth, *held]), max([*smooth[len(smooth) // 50 :], *held])
    room = 0.08 * ((high - low) or 1.0)
    y = linear(low - room, high + room, LOSS[1], LOSS[0])
    raw = [(x(p.step), min(max(y(p.loss), LOSS[0]), LOSS[1])) for p in curve.points]
    mean = [(x(p.step), min(max(y(v), LOSS[0]), LOSS[1])) for p, v in zip(curve.points, smooth, strict=True)]
    dots = [_held_out(one, x, y, number) for number, one in enumerate(curve.held_out)]
    title = el("text", "Loss, nats a trained token", class_="chart-title", x=0, y=14)
    return el(
        "g", title, _legend(curve), grid(y, ticks(low, high, 4), "{:.3g}"), line(raw, "raw"), line(mean, "mean"), dots
    )


def _held_out(one: HeldOut, x: Scale, y: Scale, number: int) -> Markup:
    dots = [
        el("circle", el("title", f"{one.name}, step {s:,}: {v:.3f}"), class_="held-dot", cx=x(s), cy=y(v), r=3.5)
        for s, v in one.points
    ]
    return el("g", line([(x(s), y(v)) for s, v in one.points], "held"), dots, class_=f"series-{number % 3}")


def _legend(curve: Curve) -> Markup:
    entries = [("training", "mean-key"), *((o.name, f"series-{i % 3}") for i, o in enumerate(curve.held_out))]
    at, made = float(RIGHT), []
    for name, class_ in reversed(entries):
        at -= 7.0 * len(name)
        made.append(
            el(
                "g",
                el("circle", class_="held-dot", cx=at - 10, cy=10, r=4),
                el("text", name, class_="tick", x=at, y=14),
                class_=class_,
            )
        )
        at -= 32
    return el("g", made)


def rate(rates: Sequence[tuple[float, float]], x: Scale, span: Span) -> Markup:
    """A panel between two heights: the learning rate by step."""
    top = max(value for _, value in rates) or 1.0
    y = linear(0, top * 1.08, span[1], span[0])
    points = [(x(step), y(value)) for step, value in rates]
    area = [(points[0][0], span[1]), *points, (points[-1][0], span[1])]
    title = el("text", "Learning rate", class_="chart-title", x=0, y=span[0] - 14)
    return el("g", title, grid(y, [0.0, top], "{:.2g}"), line(area, "rate-area"), line(points, "rate"))


def blend(segments: Sequence[Segment], x: Scale, last: int, span: Span) -> Markup:
    """A panel between two heights: the share of each source from each segment on."""
    names = list(dict.fromkeys(name for segment in segments for name in segment.share))
    made: list[Markup] = []
    for number, segment in enumerate(segments):
        if segment.start > last:
            break
        end = segments[number + 1].start if number + 1 < len(segments) else last
        at = float(span[0])
        for index, name in enumerate(names):
            height = (span[1] - span[0]) * segment.share.get(name, 0.0)
            said = f"{name}: {segment.share.get(name, 0.0):.1%} from step {segment.start:,}"
            width = max(x(min(end, last)) - x(segment.start), 1)
            made.append(
                el(
                    "rect",
                    el("title", said),
                    class_=f"blend-{index % 6}",
                    x=x(segment.start),
                    y=at,
                    width=width,
                    height=height,
                )
            )
            at += height
    shown = ", ".join(f"{name} {segments[-1].share.get(name, 0.0):.0%}" for name in names[:6])
    title = el("text", f"Blend asked, share of tokens: {shown}", class_="chart-title", x=0, y=span[0] - 14)
    return el("g", title, made)


def grid(y: Scale, values: Sequence[float], form: str) -> list[Markup]:
    """Lines across a panel at `values`, each with its figure beside it."""
    return [
        el("g", el("line", class_="grid", x1=LEFT, x2=RIGHT, y1=y(v), y2=y(v)),
           el("text", form.format(v), class_="tick", x=LEFT - 8, y=y(v) + 4, text_anchor="end"))
        for v in values
    ]  # fmt: skip
