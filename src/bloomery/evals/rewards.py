"""What preference training gained on held-out rows: implicit rewards, the start's being 0 by definition.

An answer's reward is beta times its log-probability less the start's, summed over its tokens (DPO, arXiv 2305.18290,
section 5). It is worked out from the records of both evaluations, which hold the log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bloomery.core.intervals import Interval, percentile
from bloomery.evals.bootstrap import DRAWS, Array, enough, resampled_sums
from bloomery.evals.results import EvalResult, Record

DESIRABLE, UNDESIRABLE = "desirable", "undesirable"
"""What a record of a judged answer has as its reference."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of one suite, in nats; the start's accuracy is 0.5 and its margin 0.

    Of pairs: the share whose chosen answer has the higher reward, and by how much. Of judged answers: the share on the
    right side of the median reward, and the mean reward of desirable answers less that of the others.
    """

    suite: str
    kind: str
    examples: int
    beta: float
    accuracy: Interval
    margin: Interval


def rewards(start: EvalResult, result: EvalResult, beta: float, draws: int = DRAWS) -> tuple[Rewards, ...]:
    """Every suite of preferences that both were evaluated on."""
    found = []
    for name, suite in result.suites.items():
        if suite.kind in COLUMNS and name in start.suites and suite.records:
            gained = [beta * (b.nats - a.nats) for b, a in zip(start.suites[name].records, suite.records, strict=True)]
            columns = COLUMNS[suite.kind](np.array(gained), suite.records)
            accuracy, margin = (
                enough(percentile(float(of(columns.sum(0)[None])[0]), of(resampled_sums(columns, draws))), len(gained))
                for of in (_accuracy, _margin)
            )
            found.append(Rewards(name, suite.kind, len(gained), beta, accuracy, margin))
    return tuple(found)


def _pairs(gained: Array, records: Sequence[Record]) -> Array:
    """[n, 5]: right, reward of the better less the worse, its count, and none that stand alone."""
    none = np.zeros(len(gained))
    return np.stack([_right(gained, 0.0), gained, none + 1, none, none], 1)


def _judged(gained: Array, records: Sequence[Record]) -> Array:
    """[n, 5]: right, reward where desirable, whether, reward where not, whether not; a record's nats are its loss."""
    good = np.array([float(record.reference == DESIRABLE) for record in records])
    right = _right(gained, float(np.median(gained)))
    return np.stack([np.where(good > 0, right, 1 - right), gained * good, good, gained * (1 - good), 1 - good], 1)


COLUMNS = {"preference": _pairs, "judged": _judged}


def _right(gained: Array, above: float) -> Array:
    """1 above, 0 below, and half where it is equal: a model beside itself is right half the time."""
    found: Array = np.where(gained > above, 1.0, np.where(gained < above, 0.0, 0.5))
    return found


def _accuracy(sums: Array) -> Array:
    found: Array = sums[:, 0] / (sums[:, 2] + sums[:, 4])
    return found


def _margin(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        worse = np.where(sums[:, 4] > 0, sums[:, 3] / sums[:, 4], 0.0)
        found: Array = sums[:, 1] / sums[:, 2] - worse
    return found
