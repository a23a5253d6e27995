"""One recipe under several seeds: each model against the controls of its own seed, then the mean and its scatter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import over_seeds
from bloomery.evals.compare import Change, Comparison
from bloomery.evals.results import EvalResult


@dataclass(frozen=True, slots=True)
class Seeded:
    """Evaluations of the recipe's model under one seed, and of the arms trained under the same one, by name."""

    result: EvalResult
    arms: Mapping[str, EvalResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seeds:
    """A figure under each seed, and Student's t interval of the mean where there are three."""

    changes: tuple[float, ...]
    interval: Interval | None


def seeds_of(values: Sequence[float]) -> Seeds:
    """One figure under each seed."""
    return Seeds(tuple(values), over_seeds(values))


def seeds_by_group(comparisons: Sequence[Comparison]) -> dict[str, Seeds]:
    """The change of each group under each seed; {} for one seed."""
    if len(comparisons) < 2:
        return {}
    return {name: seeds_of([c.groups[name].change.estimate for c in comparisons]) for name in _common(comparisons)}


def mean_over_seeds(comparisons: Sequence[Comparison]) -> Comparison:
    """The comparison with the mean change of each group; changes by suite and ledgers stay those of the first seed."""
    first = comparisons[0]
    if len(comparisons) == 1:
        return first
    groups = {name: _mean([c.groups[name] for c in comparisons]) for name in _common(comparisons)}
    return replace(first, groups=groups)


def combined(intervals: Sequence[Interval]) -> Interval:
    """The mean of one figure under several seeds, with an interval that neither documents nor seeds make too narrow.

    The documents are the same under every seed, so their interval of the mean is the mean of the intervals; the
    bounds are the outer ones of it and of Student's t over the seeds. Two seeds have no interval worth the name: then
    they are the outer ones of both. NaN bounds where one of them has none.
    """
    if len(intervals) == 1:
        return intervals[0]
    estimates, lows, highs = ([getattr(i, end) for i in intervals] for end in ("estimate", "low", "high"))
    mean = float(np.mean(estimates))
    if not all(map(math.isfinite, (*estimates, *lows, *highs))):
        return Interval(mean, math.nan, math.nan)
    spread = over_seeds(estimates)
    if spread is None:
        return Interval(mean, min(lows), max(highs))
    return Interval(mean, min(float(np.mean(lows)), spread.low), max(float(np.mean(highs)), spread.high))


def _common(comparisons: Sequence[Comparison]) -> list[str]:
    return [name for name in comparisons[0].groups if all(name in c.groups for c in comparisons)]


def _mean(changes: Sequence[Change]) -> Change:
    before, after = (float(np.mean([getattr(c, side) for c in changes])) for side in ("before", "after"))
    return replace(changes[0], before=before, after=after, change=combined([c.change for c in changes]))
