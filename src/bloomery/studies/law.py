"""A law for the loss on the domain and on general text over tokens D and the domain's share r, fitted on micro-runs.

    domain:   log L(D, r) / L(0)  =  c (D/T)^u  -  a ((1 + 100 r D/T)^v - 1) / v
    general:  log L(D, r) / L(0)  =  c (D/T)^u  +  a r^v (1 - r + .01)^-g (D/T)^w

c and a of each start, u, v, w, g shared by all, T the median length of the micro-runs.

L(0) is the start's own measured loss. The first term is what training does without any domain (continuing, re-warming
and annealing on general text), the second what the domain adds. It is the simplest of the family that D-CPT
(arXiv 2406.01375: E + B r^eta / D^beta + C / (r + eps)^gamma), the forgetting law (2502.06042: A D^b / ((1 + B p) N)^a)
and CMR (2407.17467) belong to. For the domain what counts is how many of its tokens there were, beside the few that the
start is worth (effective data, Hernandez et al., arXiv 2102.01293); v = 0 is their logarithm, a power law of the loss
itself. With a bare power of them, runs left out were missed by more where much is learnt (ember's warm checkpoint,
comments: 1.2 in place of 0.7 %). General loss rises steeply where little is replayed, which is what g says. More
domain can only lower its loss and raise the general one: a has that sign, or is 0.

Only annealed end points are fitted: half-way a run has rate left to lose, and lies above the law. Exponents that the
runs cannot tell apart (w, where all have one length) stay at their prior; a prediction beyond the lengths or shares of
the fit says by how much, and is the less sure. Intervals of a loss are jackknife+ over runs (Barber et al., arXiv
1905.02928): where another run may end. Those of a rise are where the law itself may lie: the jackknife's error (Efron
1982) and Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import T_975
from bloomery.studies.curves import DOMAIN, GENERAL, PRIOR_WIDTH, Curve, Form, Runs, fitted
from bloomery.studies.micro import Point

_N = TypeVar("_N", int, float)

FEWEST = 3
"""Runs of a start: it has two coefficients of its own."""
LARGEST_SHARE = 0.99
"""The replay floor of 1 % (arXiv 2502.06042)."""
GATE = 0.01
"""Largest mean relative error of runs left out with which a law is relied on."""


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

    def interval(self, estimate: float, others: Sequence[float], wider: float) -> Interval:
        """Jackknife+ of a change in log loss: as wide as the left-out fits and what they missed, `wider` times."""
        ends = [side for o, m in zip(others, self.missed, strict=True) for side in (o - abs(m), o + abs(m))]
        below, above = max(0.0, estimate - min(ends)), max(0.0, max(ends) - estimate)
        return Interval(estimate, estimate - wider * below, estimate + wider * above)

    def confidence(self, estimate: float, others: Sequence[float], wider: float) -> Interval:
        """Where the law's own value lies, by how far it moves when single runs are left out, `wider` times."""
        n = len(others)
        half = wider * _t(n - 1) * math.sqrt((n - 1) * float(np.var(others)))
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
        beyond, length, wider = self.beyond(start, share, tokens), tokens / self.unit, self._wider(start, tokens)
        nothing = Interval(math.nan, math.nan, math.nan)
        general = nothing if self.general is None else _loss(self.general, start, share, length, wider)
        return Prediction(_loss(self.domain, start, share, length, wider), general, beyond)

    def rise(self, start: str, share: float, tokens: float) -> Interval:
        """Relative rise of general loss over that of as many tokens of curated text alone, with its 95 % interval."""
        if self.general is None:
            raise InputError("there is no general text to measure a rise on", fix="use a family with a general suite")
        wider, length = self._wider(start, tokens), tokens / self.unit
        added = [curve.of_domain(start, share, length) for curve in (self.general.curve, *self.general.left_out)]
        return _relative(self.general.confidence(added[0], added[1:], wider))

    def share_for(self, start: str, keep: float, tokens: float) -> float | None:
        """The largest domain share, in per cents, whose rise stays within `keep` at the interval's upper end.

        None where not even 1 % does. At most 99 %: the replay floor.
        """
        fits = [k / 100 for k in range(1, round(100 * LARGEST_SHARE) + 1)]
        fits = [share for share in fits if self.rise(start, share, tokens).high <= keep]
        return max(fits, default=None)

    def beyond(self, start: str, share: float, tokens: float) -> tuple[str, ...]:
        """What of a prediction lies outside the runs, each with how far; nothing inside them."""
        self._refuse_unknown(start)
        (least, most), (low, high) = self.tokens[start], self.shares[start]
        told = []
        if tokens > 1.05 * most:
            told.append(f"{tokens / most:.2g} times the {most:,} tokens of the longest micro-run")
        if tokens < least / 1.05:
            told.append(f"1/{least / tokens:.2g} of the {least:,} tokens of the shortest micro-run")
        if not low - 0.005 <= share <= high + 0.005:
            told.append(f"a share of {share:.0%}, outside the {low:.0%} to {high:.0%} of the micro-runs")
        return tuple(told)

    def _refuse_unknown(self, start: str) -> None:
        if start not in self.tokens:
            raise InputError(f"no micro-run began at `{start}`", fix=f"ask for {', '.join(self.tokens)}")

    def _wider(self, start: str, tokens: float) -> float:
        """How much wider an interval is beyond the longest run: an exponent is known to the width of its prior."""
        self._refuse_unknown(start)
        return float(max(1.0, tokens / self.tokens[start][1]) ** PRIOR_WIDTH)


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
    curves = tuple(fitted(runs.without(k), form) for k in range(len(ends)))
    asked = zip(curves, runs.start, runs.share, runs.length, runs.change, strict=True)
    missed = tuple(curve.change(str(s), float(r), float(d)) - float(y) for curve, s, r, d, y in asked)
    around = float(np.sum((runs.change - runs.change.mean()) ** 2))
    explained = 1 - float(np.sum(np.square(missed))) / max(around, 1e-12)
    return Law(base, fitted(runs, form), curves, missed, explained)


def _loss(law: Law, start: str, share: float, length: float, wider: float) -> Interval:
    changes = [curve.change(start, share, length) for curve in (law.curve, *law.left_out)]
    found = law.interval(changes[0], changes[1:], wider)
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


def _range(values: Sequence[_N]) -> tuple[_N, _N]:
    return min(values), max(values)


def _told(interval: Interval) -> str:
    return f"{interval.estimate:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
