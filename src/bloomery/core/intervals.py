"""95 % intervals, for whatever states a figure: percentiles of resampled ones, and two intervals of a share.

Wilson's holds its level on average, Clopper and Pearson's always, which makes it wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its 95 % interval, in the estimate's own unit."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"

    def scaled(self, factor: float) -> Interval:
        """Estimate and bounds times `factor`; a negative one swaps the bounds."""
        ends = sorted((self.low * factor, self.high * factor))
        return Interval(self.estimate * factor, ends[0], ends[1])


def percentile(estimate: float, draws: npt.NDArray[np.float64]) -> Interval:
    """Percentile interval of resampled statistics around the estimate; NaN bounds where nothing can be drawn."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return Interval(estimate, math.nan, math.nan)
    low, high = np.percentile(finite, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(estimate, float(low), float(high))


def wilson(hits: int, count: int) -> Interval:
    """Of a share (E. B. Wilson, 1927), which holds near 0 and 1 and for few rows; 0 to 1 of no rows."""
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    p, part = hits / count, z * z / count
    middle = (p + part / 2) / (1 + part)
    half = z * math.sqrt(p * (1 - p) / count + part / (4 * count)) / (1 + part)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


def clopper_pearson(hits: int, count: int) -> Interval:
    """Of a share, exact (Clopper, Pearson 1934): beyond a bound, so few or so many hits come once in forty times.

    Of nothing in `count` the upper bound is about 3.7 / count.
    """
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    side = (1 - LEVEL) / 2

    def reached(rate: float) -> float:
        return 1 - binomial_tail(hits - 1, count, rate)

    edge = 1 - side ** (1 / count)  # what the search below finds for no hits
    high = 1.0 if hits == count else edge if not hits else _rate(lambda p: binomial_tail(hits, count, p) > side)
    low = 0.0 if not hits else 1 - edge if hits == count else _rate(lambda p: reached(p) < side)
    return Interval(hits / count, low, high)


def binomial_tail(hits: int, count: int, rate: float) -> float:
    """Chance of at most `hits` in `count` where each comes with probability `rate`, between 0 and 1."""
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    terms = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * log_rate + (count - k) * log_rest
        for k in range(hits + 1)
    ]
    top = max(terms)
    return min(1.0, math.exp(top) * sum(math.exp(term - top) for term in terms))


def _rate(below: Callable[[float], bool]) -> float:
    """The rate from which on `below` no longer holds, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2
