"""The drawing of a held budget: the rise against what was allowed, and what was done about it, over the same steps."""

from __future__ import annotations

from bloomery.evals.charts import Scale, linear, ticks
from bloomery.evals.course import LEFT, RIGHT, WIDTH, grid, line, steps
from bloomery.evals.held import Held, Look
from bloomery.evals.html import Markup, el, svg

RISE, REPLAY, RATE, DRIFT = (28, 178), (226, 296), (344, 394), (442, 502)


def hold_chart(held: Held) -> Markup:
    """Four panels under each other: rise and budget, replay, factor of the rate, KL to the start."""
    last = held.looks[-1].step
    x = linear(0, last, LEFT, RIGHT)
    replays, rates = [held.asked, *(k.replay for k in held.looks)], [1.0, *(k.rate for k in held.looks)]
    label = f"General loss {held.looks[-1].rise:+.2%} over the start at the end, {held.budget:.2%} allowed"
    return svg(
        WIDTH, DRIFT[1] + 40, label,
        steps(x, last, DRIFT[1]),
        _rise(held, x),
        _turns("Replay, share of tokens", replays, held, x, REPLAY, "{:.0%}", 1.0),
        _turns("Factor of the learning rate", rates, held, x, RATE, "{:.2g}", 1.0),
        _drift(held.looks, x),
    )  # fmt: skip


def _rise(held: Held, x: Scale) -> Markup:
    ends = [end for look in held.looks for end in (look.rise - look.noise, look.rise + look.noise)]
    low, high = min(0.0, *ends), max(held.budget, *ends)
    room = 0.08 * (high - low)
    y = linear(low - room, high + room, RISE[1], RISE[0])
    dots = [
        el("g", el("title", f"step {k.step:,}: {k.rise:+.2%}, {k.allowed:.2%} allowed: {k.did}"),
           el("line", class_="whisker", x1=x(k.step), x2=x(k.step), y1=y(k.rise - k.noise), y2=y(k.rise + k.noise)),
           el("circle", class_="held-dot", cx=x(k.step), cy=y(k.rise), r=3.5), class_="series-0")
        for k in held.looks
    ]  # fmt: skip
    limit = el("line", class_="limit", x1=LEFT, x2=RIGHT, y1=y(held.budget), y2=y(held.budget))
    said = el("text", f"budget {held.budget:.2%}", class_="limit-said", x=LEFT + 6, y=y(held.budget) - 4)
    title = el("text", "Rise of general loss over the start; dots are measurements, the pale line what was allowed",
               class_="chart-title", x=0, y=14)  # fmt: skip
    allowed = line([(x(k.step), y(k.allowed)) for k in held.looks], "raw")
    rises = line([(x(0), y(0)), *((x(k.step), y(k.rise)) for k in held.looks)], "held")
    marks = grid(y, ticks(low, high, 4), "{:+.2%}")
    return el("g", title, marks, allowed, el("g", rises, class_="series-0"), dots, limit, said)


def _turns(
    name: str, values: list[float], held: Held, x: Scale, place: tuple[int, int], form: str, top: float
) -> Markup:
    """A value that stands until the next decision changes it."""
    y = linear(0, top, place[1], place[0])
    points, at = [(x(0), y(values[0]))], values[0]
    for look, value in zip(held.looks, values[1:], strict=True):
        if look.start is not None and value != at:
            points += [(x(look.start), y(at)), (x(look.start), y(value))]
            at = value
    points.append((x(held.looks[-1].step), y(at)))
    title = el("text", name, class_="chart-title", x=0, y=place[0] - 14)
    return el("g", title, grid(y, [0.0, top], form), line(points, "rate"))


def _drift(looks: tuple[Look, ...], x: Scale) -> Markup:
    top = max(k.kl for k in looks) or 1.0
    y = linear(0, top * 1.08, DRIFT[1], DRIFT[0])
    title = el("text", "KL to the start, nats a token (lower bound)", class_="chart-title", x=0, y=DRIFT[0] - 14)
    points = [(x(0), y(0)), *((x(k.step), y(k.kl)) for k in looks)]
    return el("g", title, grid(y, [0.0, top], "{:.2g}"), line(points, "mean"))
