"""Holds a forgetting budget: from what was measured so far to the share of replay and a factor on the learning rate.

A plain function of the measurements, so that a resumed run and every process decide alike.

The figure it works on is the rise that the run is heading for. Loss follows annealing times distribution shift, both in
the rate (Wang et al., arXiv 2505.07796): a rise is carried on to the next measurement by its slope over the rate spent,
and a part of it goes as the rate falls. New data costs at first more general loss than is left of it (the stability
gap, arXiv 2205.13452), so a first jump is no trend. What an anneal gives a model beyond its start is not counted.

Replay goes up as soon as that figure is over what is allowed, in proportion, on the logit of its share: an integral
controller whose proportional part is the prediction. It comes down, more slowly, only where the rise is inside by more
than the noise of the measured documents, and not while the drift from the start quickens. The rate is lowered only
under replay that is at its bound already and does not bring the rise down in time, and is given back first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAIN, EASE = 1.5, 1.0
"""Move of the logit of the replay share for a rise that is one budget over, or under, what is allowed (our choice)."""
STRONGEST = 1.33
"""Budgets over, beyond which the answer grows no further: from half replay to 88 % in one move."""
NEAR = 1e-3
"""A share as near as this to its bound is at it."""
FADES = 0.7
"""Part of a rise that goes as the rate falls to zero. Ember from its warm checkpoint, highest rise and that at the end:
1.6 and 0.6 % with 30 % workflow language in 100k tokens; in 700k tokens all of 1.2 % with 7 % of comments."""
LOOK_BACK = 3
"""Measurements that the slope is taken over; before there are as many, nothing is given back."""
TRUST = 0.5
"""Part of a fall that is counted on to the end: noise and what is changed meanwhile bend it."""
SLOWER, FASTER = 0.5, 1.5
"""Most that one decision lowers the rate by, and what it gives back."""
QUICKER = 1.25
"""Drift per rate spent, over that of the whole way before, that counts as quickening."""
PROOF = 2.0
"""Standard errors of the final evaluation that are kept clear, so that the budget is not only held but proven..."""
LEAST_AIM = 0.25
"""... but at least this part of the budget is aimed at: what cannot be proven may still be held."""

Did = Literal["more replay", "lower rate", "at its bounds", "less replay", "rate back", "falling", "quickening", "kept"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be done: the largest relative rise, the least and the most replay of all tokens, the smallest factor of
    the rate."""

    budget: float
    replay: tuple[float, float]
    rate: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One measurement after `step` steps, `spent` being the part of all that the schedule's rates sum to.

    `rise` of general loss over the start's and its standard error `noise` are relative, and so is `drift`: the KL to
    the start over the start's loss. `proven` is the standard error that the final evaluation will have. `rate` is the
    learning rate now and `last` that at the end, both over the run's highest.
    """

    step: int
    spent: float
    rise: float
    noise: float
    drift: float
    proven: float = 0.0
    rate: float = 1.0
    last: float = 1.0

    @property
    def fading(self) -> float:
        """What a rise of now will be a part of at the end, by the rate that falls until then."""
        return min(1.0, (1 - FADES * (1 - self.last)) / (1 - FADES * (1 - self.rate)))

    @property
    def band(self) -> float:
        """How far these documents may be from all those that the final evaluation reads: one standard error."""
        return math.sqrt(max(0.0, self.noise**2 - self.proven**2))


@dataclass(frozen=True, slots=True)
class Decision:
    """Replay share and rate factor from here on, what was allowed and expected, and what was done."""

    replay: float
    rate: float
    allowed: float
    expected: float
    did: Did


def decide(replay: float, rate: float, seen: Sequence[Seen], limits: Limits) -> Decision:
    """What follows from all measurements, the newest last."""
    now, (low, high) = seen[-1], limits.replay
    allowed, expected = allowance(now, limits.budget), heading(seen, 1)
    over = (expected - allowed) / limits.budget
    room = (allowed - now.band - heading(seen, 2)) / limits.budget
    inside = min(max(replay, low), high)
    found: tuple[float, float, Did]
    if over <= 0:
        found = _easier(inside, rate, room, seen, limits)
    elif inside < high - NEAR:
        found = min(moved(inside, GAIN * min(over, STRONGEST)), high), rate, "more replay"
    elif len(seen) > 1 and now.rise < seen[-2].rise:  # a lower rate would keep what replay is mending
        found = inside, rate, "falling"
    else:
        found = _slower(inside, rate, over, limits)
    return Decision(*found[:2], allowed, expected, found[2])


def _slower(replay: float, rate: float, over: float, limits: Limits) -> tuple[float, float, Did]:
    """A lower rate, where the most replay does not bring the rise down."""
    slower = max(limits.rate, rate * (1 - SLOWER * min(1.0, over)))
    return replay, slower, "lower rate" if slower < rate else "at its bounds"


def _easier(replay: float, rate: float, room: float, seen: Sequence[Seen], limits: Limits) -> tuple[float, float, Did]:
    """The rate back, then tokens back to the domain, where there is room and the model does not leave ever faster."""
    low = limits.replay[0]
    if seen[-1].rise > limits.budget:
        return replay, rate, "falling"
    if room <= 0 or len(seen) < LOOK_BACK or (rate == 1 and replay <= low + NEAR):
        return replay, rate, "kept"
    if quickening(seen):
        return replay, rate, "quickening"
    if rate < 1:
        return replay, min(1.0, rate * FASTER), "rate back"
    return max(low, moved(replay, -EASE * min(room, 1.0))), rate, "less replay"


def allowance(now: Seen, budget: float) -> float:
    """The rise that is aimed at: the budget, less what its proof takes."""
    return max(budget - PROOF * now.proven, LEAST_AIM * budget)


def heading(seen: Sequence[Seen], after: int) -> float:
    """The rise at the end, if it goes on as in the last measurements.

    One that grows does so for `after` more, then fades with the rate; one that falls with it is carried on to the end.
    """
    points, now = seen[-LOOK_BACK:], seen[-1]
    ahead = min(1 - now.spent, after * (now.spent - points[-2].spent)) if len(points) > 1 else 0.0
    slope = _slope([(p.spent, p.rise) for p in points])
    reached = now.rise + max(0.0, slope) * ahead
    faded = reached * now.fading if reached > 0 else reached
    if slope >= 0 or len(points) < LOOK_BACK or now.rise <= 0 or now.fading == 1:
        return faded
    return min(faded, now.rise + TRUST * slope * (1 - now.spent))


def quickening(seen: Sequence[Seen]) -> bool:
    """Whether the model left its start faster since the last measurement, by rate spent, than on the whole way before.

    KL has no noise of the text's own choices: it tells within one measurement what the loss shows only later.
    """
    if len(seen) < 2:
        return False
    before, now = seen[-2:]
    speed = (now.drift - before.drift) / max(now.spent - before.spent, 1e-12)
    return speed > QUICKER * before.drift / max(before.spent, 1e-12)


def moved(share: float, by: float) -> float:
    """The share whose logit is `by` larger."""
    return 1 / (1 + (1 - share) / share * math.exp(-by))


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares; 0 where all lie at one place."""
    x0, y0 = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    wide = sum((x - x0) ** 2 for x, _ in points)
    return sum((x - x0) * (y - y0) for x, y in points) / wide if wide > 0 else 0.0
