"""Which parts of the curated text serve best: weights drawn around the preset's, and a log-linear law per loss.

RegMix's public runs, analysed again, are predicted best by ridge regression on log(weight + 0.01): rank correlation
.94 with two runs a category, .96 with three (`3m` runs for m categories); Olmix (arXiv 2602.12237) uses the same form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import T_975
from bloomery.studies.curves import NOISE, Array
from bloomery.studies.micro import Point

RUNS_EACH = 3
"""Micro-runs a category."""
SPREAD = 3.0
"""No weight leaves a third to three times its preset: general text alone is measured, and skills and safety are not."""
WEIGHED = 0.05
"""Categories with a smaller part in the preset keep it: their effect on a short run is lost in its scatter."""
CONCENTRATION = 4.0
"""Of the Dirichlet distribution, a category: low enough that weights double and halve."""
CANDIDATES = 4000
GATE = 0.8
"""Least part of the variance between runs that is predicted of those left out."""
WIDTH = 0.1
"""Prior width of a coefficient: a tenth of the loss for e times the weight."""

Weights = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LogLinear:
    """log loss = mean + coefficients · (log(weight + .01) - centre), with what left-out runs were missed by."""

    names: tuple[str, ...]
    mean: float
    centre: Array
    coefficients: Array
    inverse: Array
    scatter: float
    explained: float
    freedom: int

    @property
    def holds(self) -> bool:
        """Whether it passes the gate."""
        return self.explained >= GATE

    def effect(self, weights: Weights, against: Weights) -> Interval:
        """Relative change of the loss from the weights `against` to `weights`, with its 95 % interval."""
        step = _features(self.names, weights) - _features(self.names, against)
        estimate = float(step @ self.coefficients)
        t = T_975[min(max(self.freedom, 1), len(T_975)) - 1]
        half = t * self.scatter * math.sqrt(float(step @ self.inverse @ step))
        return Interval(math.expm1(estimate), math.expm1(estimate - half), math.expm1(estimate + half))


def weighed(preset: Weights) -> list[str]:
    """The categories that are searched over."""
    return [name for name, weight in preset.items() if weight >= WEIGHED]


def drawn(preset: Weights, count: int, seed: int = 0) -> list[dict[str, float]]:
    """`count` weights from a Dirichlet distribution around the preset, within `SPREAD` of it, in whole per mille."""
    rng, names = np.random.default_rng(seed), weighed(preset)
    centre = np.array([preset[name] for name in names])
    whole = centre.sum()
    found: list[dict[str, float]] = []
    while len(found) < count:
        weights = whole * rng.dirichlet(CONCENTRATION * len(names) * centre / whole)
        if np.all((weights <= SPREAD * centre) & (weights * SPREAD >= centre)):
            found.append(rounded({**preset, **dict(zip(names, weights.tolist(), strict=True))}))
    return found


def rounded(weights: Weights) -> dict[str, float]:
    """The same in steps of 0.1 %, which sum to 1; the largest takes what rounding leaves."""
    found = {name: round(weight, 3) for name, weight in weights.items()}
    largest = max(found, key=lambda name: found[name])
    found[largest] = round(1 - sum(weight for name, weight in found.items() if name != largest), 3)
    return found


def fit_weights(points: Sequence[Point], quantity: str, preset: Weights) -> LogLinear:
    """Ridge regression of the log loss of end points that differ in their weights alone."""
    names = tuple(weighed(preset))
    x = np.array([_features(names, point.weights) for point in points])
    y = np.array([math.log(getattr(point, quantity)) for point in points])
    centre, mean = x.mean(0), float(y.mean())
    inverse = np.linalg.inv((x - centre).T @ (x - centre) + (NOISE / WIDTH) ** 2 * np.eye(len(names)))
    coefficients = inverse @ (x - centre).T @ (y - mean)
    left = y - mean - (x - centre) @ coefficients
    lever = 1 / len(y) + np.einsum("ij,jk,ik->i", x - centre, inverse, x - centre)
    missed = left / (1 - np.minimum(lever, 0.99))  # of a linear fit, leaving out needs no refitting
    explained = 1 - float((missed**2).sum()) / max(float(((y - mean) ** 2).sum()), 1e-12)
    freedom = len(y) - len(names)  # weights sum to 1, so one of the directions is the mean's
    scatter = max(math.sqrt(float((left**2).sum()) / max(freedom, 1)), 1e-4)
    return LogLinear(names, mean, centre, coefficients, inverse, scatter, explained, freedom)


def best_weights(domain: LogLinear, general: LogLinear, preset: Weights, slack: float) -> list[dict[str, float]]:
    """Candidates, best first, whose general loss rises by at most `slack` over the preset's at its upper bound.

    By the lowest domain loss, or the lowest general loss where that of the domain cannot be predicted. Empty where the
    general one cannot.
    """
    if not general.holds:
        return []
    tried = [weights for weights in drawn(preset, CANDIDATES, 1) if general.effect(weights, preset).high <= slack]
    judge = domain if domain.holds else general
    return sorted(tried, key=lambda weights: judge.effect(weights, preset).estimate)


def _features(names: Sequence[str], weights: Weights) -> Array:
    return np.log(np.array([weights[name] for name in names]) + 0.01)
