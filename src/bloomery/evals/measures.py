"""Every figure of a suite with its interval, and every difference between two models with its significance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bloomery.core.intervals import Interval, clopper_pearson, percentile
from bloomery.evals.bootstrap import FEWEST, Array, enough, resampled_sums
from bloomery.evals.ledger import RIGHT, sign_test
from bloomery.evals.metrics import Better, columns_of, metric, ratio, score_columns
from bloomery.evals.own_metrics import jackknife
from bloomery.evals.results import EvalResult, Record, SuiteResult

DRAWS = 2_000
"""Bootstrap draws of a single figure: its bounds then move by about a fiftieth of their distance from seed to seed."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of one suite; `examples` are those that have it. `better` says which way is good."""

    name: str
    found: Interval
    examples: int
    better: Better


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure under two models, `change` being after less before on the examples that both have.

    `p_value`: how often models that are alike would differ so much. Of right and wrong answers McNemar's exact test, of
    anything else twice the smaller share of bootstrap draws on one side of no change.
    """

    suite: str
    group: str
    name: str
    before: float
    after: float
    change: Interval
    p_value: float
    examples: int
    better: Better

    @property
    def said(self) -> str:
        """`better`, `worse`, `changed` where neither way is good; `unclear` where the interval holds no change."""
        if not math.isfinite(self.change.low) or self.change.low <= 0 <= self.change.high:
            return "unclear"
        if self.better == "neither":
            return "changed"
        return "better" if (self.change.low > 0) == (self.better == "more") else "worse"


def measures(suite: SuiteResult, draws: int = DRAWS) -> list[Measure]:
    """The suite's own figure first, then its metrics; without bounds below `FEWEST` examples."""
    found = []
    for name, better, of, columns, _ in _figures(suite):
        if len(columns):
            drawn = of(resampled_sums(columns, draws))
            bounds = enough(percentile(_once(of, columns), drawn), len(columns))
            found.append(Measure(name, _unmoved(name, columns, bounds), len(columns), better))
    own = [Measure(name, jackknife(values), len(suite.records), "neither") for name, values in suite.own.items()]
    return found + own


def differences(before: EvalResult, after: EvalResult, draws: int = DRAWS) -> list[Difference]:
    """Every figure that both models have, on the same examples. The two must hold the same rows (`compare` checks)."""
    found = []
    for name, old in before.suites.items():
        new = after.suites.get(name)
        if new is None:
            continue
        second = {figure[0]: figure for figure in _figures(new)}
        for figure in _figures(old):
            if figure[0] in second:
                found += _paired(old, figure, second[figure[0]], draws, new)
        for own in [one for one in old.own if one in new.own]:
            found.append(_own(old, own, new))
    return found


_Figure = tuple[str, Better, Callable[[Array], Array], Array, list[int]]


def _figures(suite: SuiteResult) -> Iterator[_Figure]:
    """(name, which way is better, sums to figure, columns, numbers of the records that have it)."""
    main: tuple[str, Better] = ("bits_per_byte", "less") if suite.kind == "bpb" else ("score", "more")
    if suite.kind == "bpb" or any(record.score is not None for record in suite.records):
        yield (*main, ratio, *score_columns(suite.kind, suite.records))
    for name in suite.metrics:
        one = metric(name)
        yield (name, one.better, one.of, *columns_of(name, suite.records))


def _paired(old: SuiteResult, a: _Figure, b: _Figure, draws: int, new: SuiteResult) -> list[Difference]:
    name, better, of = a[:3]
    both = sorted(set(a[4]) & set(b[4]))
    if not both:
        return []
    left, right = (one[3][[at for at, number in enumerate(one[4]) if number in set(both)]] for one in (a, b))
    width = left.shape[1]
    sums = resampled_sums(np.concatenate([left, right], axis=1), draws)
    drawn = of(sums[:, width:]) - of(sums[:, :width])
    before, after = _once(of, left), _once(of, right)
    change = enough(percentile(after - before, drawn), len(both))
    p_value = _p_value(drawn)
    if name == "score" and np.isin(np.concatenate([left[:, 0], right[:, 0]]), (0.0, 1.0)).all():
        p_value = _mcnemar([(old.records[n], new.records[n]) for n in both])
    if not np.any(left != right):  # nothing moved: what is rarer than this would have been missed once in forty times
        unseen = clopper_pearson(0, len(both)).high
        if np.isfinite(change.low) and name != "bits_per_byte":
            change = Interval(change.estimate, change.estimate - unseen, change.estimate + unseen)
    return [Difference(old.name, old.group, name, before, after, change, p_value, len(both), better)]


def _unmoved(name: str, columns: Array, found: Interval) -> Interval:
    """A share that is 0 or 1 on every example has an exact bound on its open side."""
    shares = columns.shape[1] == 2 and (columns[:, 1] == 1).all() and np.isfinite(found.low)
    if not shares or name == "bits_per_byte" or not (np.isin(columns[:, 0], (0.0, 1.0))).all():
        return found
    all_or_none = found.estimate in (0.0, 1.0)
    return clopper_pearson(round(float(columns[:, 0].sum())), len(columns)) if all_or_none else found


def _own(old: SuiteResult, name: str, new: SuiteResult) -> Difference:
    left, right = old.own[name], new.own[name]
    if len(left) == 2:  # standard errors alone: as if the two were measured on different examples
        change = jackknife([right[0] - left[0], math.hypot(left[1], right[1])])
    else:
        change = jackknife([b - a for a, b in zip(left, right, strict=True)])
    half = (change.high - change.low) / 2
    z = abs(change.estimate) / (half / 1.96) if half else math.inf if change.estimate else 0.0
    p_value = math.erfc(z / math.sqrt(2)) if math.isfinite(half) else 1.0
    return Difference(old.name, old.group, name, left[0], right[0], change, p_value, len(old.records), "neither")


def _once(of: Callable[[Array], Array], columns: Array) -> float:
    return float(of(columns.sum(0)[None])[0])


def _p_value(drawn: Array) -> float:
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < FEWEST:
        return 1.0
    side = min(float((finite <= 0).mean()), float((finite >= 0).mean()))
    return min(1.0, max(2 * side, 2 / len(finite)))


def _mcnemar(pairs: Sequence[tuple[Record, Record]]) -> float:
    moves = [((b.score or 0.0) >= RIGHT, (a.score or 0.0) >= RIGHT) for b, a in pairs]
    return sign_test(moves.count((True, False)), moves.count((False, True)))
