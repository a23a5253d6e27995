"""A law for the loss on the domain and on general text over tokens D and the domain's share r, fitted on micro-runs.

    log L(D, r) / L(0)  =  c (D/T)^u  +  a r^v (D/T)^w          c, a of each start; u, v, w shared by all; T the
                                                               median length of the micro-runs

L(0) is the start's own measured loss. The first term is what training does without any domain (continuing, re-warming
and annealing on general text), the second what the domain adds. It is the simplest of the family that D-CPT
(arXiv 2406.01375: E + B r^eta / D^beta + C / (r + eps)^gamma), the forgetting law (2502.06042: A D^b / ((1 + B p) N)^a)
and CMR (2407.17467) belong to. For the domain w = v: what counts is how many domain tokens there were. More domain can
only lower its loss and raise the general one: a has that sign, or is 0.

Only annealed end points are fitted: half-way a run has rate left to lose, and lies above the law. Exponents that the
runs cannot tell apart (w, where all have one length) stay at their prior; a prediction beyond the lengths or shares of
the fit says by how much. Intervals of a loss are jackknife+ over runs (Barber et al., arXiv 1905.02928): where a further
run may end. Those of a rise are where the law itself may lie: the jackknife's error (Efron 1982) and Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.evals.bootstrap import T_975, Interval
from bloomery.studies.micro import Point

Array = npt.NDArray[np.float64]

NOISE = 0.003
"""Noise of a run's log loss that priors are weighed against: two seeds of ember differ by 0.2 to 0.4 %."""
FEWEST = 3
"""Runs of a start: it has two coefficients of its own."""
LARGEST_SHARE = 0.99
"""The replay floor of 1 % (arXiv 2502.06042)."""
GATE = 0.01
"""Largest mean relative error of runs left out with which a law is relied on."""


@dataclass(frozen=True, slots=True)
class Form:
    """Exponents tried, their priors (mean, width), and the sign of what the domain adds."""

    u: Array
    v: Array
    w: Array | None
    """None: the same as v."""
    prior: tuple[tuple[float, float], ...]
    sign: int

    def grid(self) -> tuple[Array, Array, Array]:
        """Every combination, each [G]."""
        if self.w is None:
            u, v = (axis.ravel() for axis in np.meshgrid(self.u, self.v))
            return u, v, v
        u, v, w = (axis.ravel() for axis in np.meshgrid(self.u, self.v, self.w))
        return u, v, w


_STEPS = np.linspace(0, 1, 5)
DOMAIN = Form(_STEPS, np.linspace(0.2, 1.2, 21), None, ((0.5, 0.25), (0.5, 0.25), (0.5, 0.25)), -1)
GENERAL = Form(_STEPS, np.linspace(0.5, 3, 21), np.linspace(0, 1, 9), ((0.25, 0.25), (1.5, 0.5), (0.25, 0.25)), 1)
C_WIDTH, A_WIDTH = 0.1, 0.5
"""Widths of the priors of c and a, around 0."""


@dataclass(frozen=True, slots=True)
class Runs:
    """End points as arrays [n]: start, share, tokens over `unit`, and log of the loss over the start's."""

    start: npt.NDArray[np.str_]
    share: Array
    length: Array
    change: Array

    def without(self, index: int) -> Runs:
        """All but one run."""
        return Runs(*(np.delete(getattr(self, name), index) for name in ("start", "share", "length", "change")))


@dataclass(frozen=True, slots=True)
class Curve:
    """One fit: exponents u, v, w, and (c, a) by start."""

    exponents: tuple[float, float, float]
    own: Mapping[str, tuple[float, float]]

    def change(self, start: str, share: float, length: float) -> float:
        """Log of the loss over the start's; `length` in units of the fit."""
        return self.without_domain(start, length) + self.of_domain(start, share, length)

    def without_domain(self, start: str, length: float) -> float:
        """The first term: what training on general text alone does."""
        return float(self.own[start][0] * length ** self.exponents[0])

    def of_domain(self, start: str, share: float, length: float) -> float:
        """The second term: what the domain adds to it."""
        _, v, w = self.exponents
        return float(self.own[start][1] * share**v * length**w)


@dataclass(frozen=True, slots=True)
class Law:
    """One quantity's curve, and the curves without each run with what they missed of it (in log loss)."""

    base: Mapping[str, float]
    curve: Curve
    left_out: tuple[Curve, ...]
    missed: tuple[float, ...]
    explained: float
    """1 - the squares that the left-out runs were missed by over those around the mean."""

    @property
    def error(self) -> float:
        """Mean relative error of the loss of a run that was left out."""
        return float(np.mean(np.abs(np.expm1(self.missed))))

    def interval(self, estimate: float, others: Sequence[float]) -> Interval:
        """Jackknife+ of a change in log loss: as wide as the left-out fits and what they missed."""
        ends = [side for o, m in zip(others, self.missed, strict=True) for side in (o - abs(m), o + abs(m))]
        return Interval(estimate, min(estimate, *ends), max(estimate, *ends))

    def confidence(self, estimate: float, others: Sequence[float]) -> Interval:
        """Where the law's own value lies, by how far it moves when single runs are left out."""
        n = len(others)
        half = _t(n - 1) * math.sqrt((n - 1) * float(np.var(others)))
        return Interval(estimate, estimate - half, estimate + half)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Losses in the unit of the points; `general` is NaN without general text, `beyond` what was extrapolated."""

    domain: Interval
    general: Interval
    beyond: tuple[str, ...]

    def __str__(self) -> str:
        told = f"domain {_told(self.domain)}, general {_told(self.general)}"
        return f"{told} ({'; '.join(self.beyond)})" if self.beyond else told


@dataclass(frozen=True, slots=True)
class JointLaw:
    """Domain and general loss of each start. `unit` is T; `shares` and `tokens` are what each start was fitted on."""

    domain: Law
    general: Law | None
    unit: float
    shares: Mapping[str, tuple[float, float]]
    tokens: Mapping[str, tuple[int, int]]

    @property
    def leave_one_out(self) -> dict[str, float]:
        """Mean relative error of the loss of each run, predicted from the others, by quantity."""
        found = {"domain": self.domain.error}
        return found if self.general is None else found | {"general": self.general.error}

    @property
    def holds(self) -> bool:
        """Whether every quantity passes the gate."""
        return max(self.leave_one_out.values()) <= GATE

    def predict(self, start: str, share: float, tokens: float) -> Prediction:
        """Losses after `tokens` in all, a part `share` of them domain. Raises `InputError` for another start."""
        length = self._length(start, tokens)
        beyond = self.beyond(start, share, tokens)
        nothing = Interval(math.nan, math.nan, math.nan)
        general = nothing if self.general is None else _loss(self.general, start, share, length)
        return Prediction(_loss(self.domain, start, share, length), general, beyond)

    def rise(self, start: str, share: float, tokens: float) -> Interval:
        """Relative rise of general loss over that of as many tokens of curated text alone, with its 95 % interval."""
        if self.general is None:
            raise InputError("there is no general text to measure a rise on", fix="use a family with a general suite")
        length = self._length(start, tokens)
        added = [curve.of_domain(start, share, length) for curve in (self.general.curve, *self.general.left_out)]
        return _relative(self.general.confidence(added[0], added[1:]))

    def share_for(self, start: str, keep: float, tokens: float) -> float | None:
        """The largest domain share, in per cents, whose rise stays within `keep` at the interval's upper end.

        None where not even 1 % does. At most 99 %: the replay floor.
        """
        fits = [k / 100 for k in range(1, round(100 * LARGEST_SHARE) + 1)]
        fits = [share for share in fits if self.rise(start, share, tokens).high <= keep]
        return max(fits, default=None)

    def beyond(self, start: str, share: float, tokens: float) -> tuple[str, ...]:
        """What of a prediction lies outside the runs, each with how far; nothing inside them."""
        self._length(start, tokens)
        (least, most), (low, high) = self.tokens[start], self.shares[start]
        told = []
        if tokens > 1.05 * most:
            told.append(f"{tokens / most:.2g} times the {most:,} tokens of the longest micro-run")
        if tokens < least / 1.05:
            told.append(f"1/{least / tokens:.2g} of the {least:,} tokens of the shortest micro-run")
        if not low - 0.005 <= share <= high + 0.005:
            told.append(f"a share of {share:.0%}, outside the {low:.0%} to {high:.0%} of the micro-runs")
        return tuple(told)

    def _length(self, start: str, tokens: float) -> float:
        if start not in self.tokens:
            raise InputError(f"no micro-run began at `{start}`", fix=f"ask for {', '.join(self.tokens)}")
        return tokens / self.unit


def fit(points: Sequence[Point]) -> JointLaw:
    """The law of all points of some micro-runs. Raises `InputError` where a start has fewer than `FEWEST` runs."""
    begun = [point for point in points if point.tokens == 0]
    ends = [point for point in points if point.ended and point.tokens > 0]
    starts = dict.fromkeys(point.start for point in ends)
    for start in starts:
        if (count := sum(point.start == start for point in ends)) < FEWEST:
            raise InputError(f"{count} micro-runs from `{start}` are too few for a law", fix=f"make at least {FEWEST}")
    if not starts:
        raise InputError("there is no finished micro-run to fit a law on", fix="make some")
    unit = float(np.median([point.tokens for point in ends]))
    base = {start: [point for point in begun if point.start == start] for start in starts}
    measured = all(math.isfinite(point.general) for point in [*begun, *ends])
    return JointLaw(
        _law(ends, "domain", base, unit, DOMAIN),
        _law(ends, "general", base, unit, GENERAL) if measured else None,
        unit,
        {start: _range([p.share for p in ends if p.start == start]) for start in starts},
        {start: _range([p.tokens for p in ends if p.start == start]) for start in starts},
    )


def _law(ends: Sequence[Point], quantity: str, begun: Mapping[str, Sequence[Point]], unit: float, form: Form) -> Law:
    base = {start: float(np.mean([getattr(p, quantity) for p in found])) for start, found in begun.items()}
    runs = Runs(
        np.array([point.start for point in ends]),
        np.array([point.share for point in ends]),
        np.array([point.tokens / unit for point in ends]),
        np.array([math.log(getattr(point, quantity) / base[point.start]) for point in ends]),
    )
    curves = tuple(_curve(runs.without(k), form) for k in range(len(ends)))
    asked = zip(curves, runs.start, runs.share, runs.length, runs.change, strict=True)
    missed = tuple(curve.change(str(s), float(r), float(d)) - float(y) for curve, s, r, d, y in asked)
    around = float(np.sum((runs.change - runs.change.mean()) ** 2))
    explained = 1 - float(np.sum(np.square(missed))) / max(around, 1e-12)
    return Law(base, _curve(runs, form), curves, missed, explained)


def _curve(runs: Runs, form: Form) -> Curve:
    """Exponents from the grid, coefficients by least squares; a run that lies far off the rest counts less (Huber)."""
    weight = np.ones(len(runs.share))
    for _ in range(3):
        curve = _least_squares(runs, form, weight)
        told = zip(runs.start, runs.share, runs.length, strict=True)
        off = np.abs([curve.change(str(s), float(r), float(d)) for s, r, d in told] - runs.change)
        scale = max(float(np.median(off)) / 0.6745, NOISE)
        weight = np.minimum(1.0, 2 * scale / np.maximum(off, 1e-12))
    return curve


def _least_squares(runs: Runs, form: Form, weight: Array) -> Curve:
    """Two coefficients of each start in closed form, for every combination of exponents at once; the best wins."""
    u, v, w = form.grid()
    h = runs.length ** u[:, None]
    k = runs.share ** v[:, None] * runs.length ** w[:, None]
    cost = sum(
        (NOISE * (x - mean) / width) ** 2 for x, (mean, width) in zip((u, v, w), form.prior, strict=True)
    )  # [G], in squares of log loss
    own: dict[str, tuple[Array, Array]] = {}
    for start in dict.fromkeys(map(str, runs.start)):
        here = np.where(runs.start == start, weight, 0.0)
        c, a = _two(h, k, runs.change, here, form.sign)
        cost = cost + (here * (c[:, None] * h + a[:, None] * k - runs.change) ** 2).sum(1)
        cost = cost + (NOISE * c / C_WIDTH) ** 2 + (NOISE * a / A_WIDTH) ** 2
        own[start] = (c, a)
    best = int(np.argmin(cost))
    return Curve(
        (float(u[best]), float(v[best]), float(w[best])),
        {start: (float(c[best]), float(a[best])) for start, (c, a) in own.items()},
    )


def _two(h: Array, k: Array, y: Array, weight: Array, sign: int) -> tuple[Array, Array]:
    """c, a [G] of y = c h + a k by weighted ridge; where a has the wrong sign it is 0, and c alone is fitted."""
    hh, kk = (weight * h * h).sum(1) + (NOISE / C_WIDTH) ** 2, (weight * k * k).sum(1) + (NOISE / A_WIDTH) ** 2
    hk, hy, ky = (weight * h * k).sum(1), (weight * h * y).sum(1), (weight * k * y).sum(1)
    determinant = hh * kk - hk * hk
    c, a = (kk * hy - hk * ky) / determinant, (hh * ky - hk * hy) / determinant
    wrong = sign * a < 0
    return np.where(wrong, hy / hh, c), np.where(wrong, 0.0, a)


def _loss(law: Law, start: str, share: float, length: float) -> Interval:
    changes = [curve.change(start, share, length) for curve in (law.curve, *law.left_out)]
    found = law.interval(changes[0], changes[1:])
    return Interval(*(law.base[start] * math.exp(_bounded(x)) for x in (found.estimate, found.low, found.high)))


def _relative(change: Interval) -> Interval:
    """A change in log loss as a relative one."""
    return Interval(*(math.expm1(_bounded(x)) for x in (change.estimate, change.low, change.high)))


def _bounded(change: float) -> float:
    """A change that a float can hold the exponential of, however far somebody extrapolates."""
    return max(-50.0, min(50.0, change))


def _t(freedom: int) -> float:
    """97.5 % quantile of Student's t."""
    return T_975[freedom - 1] if freedom <= len(T_975) else 1.96 + 2.4 / freedom


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _told(interval: Interval) -> str:
    return f"{interval.estimate:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
