"""The drawing of a training by rewards: what was rewarded, how far the policy went, where the time went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bloomery.evals.charts import Scale, linear, ticks
from bloomery.evals.course import LEFT, RIGHT, WIDTH, grid, line, steps
from bloomery.evals.html import Markup, el, svg
from bloomery.evals.rolled import SPENT, Points, Rolled

HEIGHT, GAP, TOP = 92, 48, 28
SERIES = 3
"""Colours there are for lines in one panel; a fourth line has the first one's."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over the same steps, each with its name; `band` is drawn around the first of them."""

    title: str
    lines: Sequence[tuple[str, Points]]
    band: Points = ()
    floor: float | None = None


def rewards(rolled: Rolled) -> Panel:
    """Mean reward with its spread, and the best of each group."""
    lines = [("mean", rolled.of("reward")), ("best of a group", rolled.of("reward_best"))]
    return Panel("Reward; the band is one deviation", lines, rolled.of("reward_std"))


def parts(rolled: Rolled) -> Panel:
    """The reward's parts."""
    return Panel("Parts of the reward", [(name, rolled.of(f"reward/{name}")) for name in rolled.components])


def groups(rolled: Rolled) -> Panel:
    """Groups that teach nothing, and answers without a score."""
    counts = dict(rolled.of("rollouts"))
    missing = [(step, value / max(counts.get(step, 1.0), 1.0)) for step, value in rolled.of("unscorable")]
    lines = [("groups without difference", rolled.of("level_groups")), ("answers without a score", missing)]
    return Panel("Shares that teach nothing", lines, floor=0.0)


def distance(rolled: Rolled) -> Panel:
    """KL to the start, where it is measured."""
    return Panel("KL to the start, nats a token", [("on what was sampled", rolled.of("kl_start"))], floor=0.0)


def drift(rolled: Rolled) -> Panel:
    """KL from the sampler to the trained policy."""
    return Panel("KL from the sampler to the policy, nats a token", [("estimate", rolled.of("policy_drift"))])


def entropy(rolled: Rolled) -> Panel:
    """Entropy of what was sampled."""
    return Panel("Entropy, nats a token", [("estimate", rolled.of("policy_entropy"))], floor=0.0)


def length(rolled: Rolled) -> Panel:
    """Tokens of a rollout."""
    return Panel("Length, tokens", [("mean", rolled.of("length"))], floor=0.0)


def held(rolled: Rolled) -> Panel:
    """Held-out tasks: right at once, and right once in a group's answers."""
    k = max((int(value) for _, value in rolled.of("held_k")), default=1)
    lines = [("pass@1", rolled.of("held_pass_1")), (f"pass@{k}", rolled.of("held_pass_k"))]
    lines += [] if lines[0][1] else [("mean reward", rolled.of("held_reward"))]
    return Panel("Held-out tasks", lines, floor=0.0)


def staleness(rolled: Rolled) -> Panel:
    """Steps between the policy that sampled and the one that is trained."""
    return Panel("Staleness, steps", [("mean", rolled.of("staleness"))], floor=0.0)


def time_share(rolled: Rolled) -> Panel:
    """Seconds of a step, by what they were spent on."""
    spent = [(said, rolled.of(name)) for said, name in SPENT.items() if rolled.of(name)]
    other = [dict(points) for _, points in spent]
    rest = [(step, max(0.0, v - sum(one.get(step, 0.0) for one in other))) for step, v in rolled.of("seconds")]
    shown = [line for line in spent if line[0] != "held-out tasks"]
    return Panel("Seconds of a step", [*shown, ("training", rest)], floor=0.0)


PANELS: dict[str, Callable[[Rolled], Panel]] = {
    "reward": rewards, "components": parts, "groups": groups, "held": held, "kl": distance, "drift": drift,
    "entropy": entropy, "length": length, "staleness": staleness, "time": time_share,
}  # fmt: skip
"""What is drawn, from above; a panel without any point is left out."""


def rolled_chart(rolled: Rolled) -> Markup:
    """All panels under each other."""
    made = [panel(rolled) for panel in PANELS.values()]
    shown = [one for one in made if any(points for _, points in one.lines)]
    last = max(max(step for step, _ in rolled.of("reward")), 1)
    x = linear(0, last, LEFT, RIGHT)
    bottom = TOP + len(shown) * (HEIGHT + GAP) - GAP
    drawn = [_panel(one, x, TOP + number * (HEIGHT + GAP)) for number, one in enumerate(shown)]
    return svg(WIDTH, bottom + 40, f"Course over {last + 1:,} steps. {rolled.said}", steps(x, last, bottom), drawn)


def _panel(panel: Panel, x: Scale, top: float) -> Markup:
    lines = [(name, points) for name, points in panel.lines if points]
    spread = dict(panel.band)
    values = [value for _, points in lines for _, value in points]
    values += [value + side * spread.get(step, 0.0) for step, value in lines[0][1] for side in (-1, 1)]
    low = min(values) if panel.floor is None else min(panel.floor, *values)
    high = max(values)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    y = linear(low - (0 if panel.floor == low else room), high + room, top + HEIGHT, top)
    title = el("text", panel.title, class_="chart-title", x=0, y=top - 14)
    band = _band(lines[0][1], spread, x, y) if spread else None
    drawn = [_line(name, points, x, y, number % SERIES) for number, (name, points) in enumerate(lines)]
    legend = _legend([name for name, _ in lines], top - 14) if len(lines) > 1 else None
    return el("g", title, legend, grid(y, ticks(low, high, 3), "{:.3g}"), band, drawn)


def _line(name: str, points: Points, x: Scale, y: Scale, number: int) -> Markup:
    dots = [
        el("circle", el("title", f"{name}, step {s:,}: {v:.4g}"), class_="held-dot", cx=x(s), cy=y(v), r=2.5)
        for s, v in (points if len(points) <= 20 else ())
    ]
    drawn = el("polyline", class_="held", points=" ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in points))
    return el("g", drawn, dots, class_=f"series-{number}")


def _band(points: Points, spread: dict[int, float], x: Scale, y: Scale) -> Markup:
    upper = [(x(s), y(v + spread.get(s, 0.0))) for s, v in points]
    lower = [(x(s), y(v - spread.get(s, 0.0))) for s, v in reversed(points)]
    return line([*upper, *lower], "rate-area")


def _legend(names: Sequence[str], y: float) -> Markup:
    at, made = float(RIGHT), []
    for number, name in reversed([*enumerate(names)]):
        at -= 7.0 * len(name)
        dot = el("circle", class_="held-dot", cx=at - 10, cy=y - 4, r=4)
        made.append(el("g", dot, el("text", name, class_="tick", x=at, y=y), class_=f"series-{number % SERIES}"))
        at -= 32
    return el("g", made)
