"""Intervals: paired bootstrap over documents, Student's t over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bloomery.core.intervals import Interval

Array = npt.NDArray[np.float64]

DRAWS = 10_000
FEWEST = 10
"""Documents or examples from which a change has an interval.

A percentile interval is too narrow by the root of n / (n - 1), and by what Student's quantile has over the normal one
(its narrowness bias in Hesterberg, arXiv 1411.5279): with 2 documents the width ought to be 9 times what it is, with 5
1.6 times, with 10 1.2 times. With one document it is zero.
"""
BLOCK = 1 << 17
"""Indices drawn at once: 1 MB, which stays in cache."""
REMEMBERED = 6_000_000
"""Counts of sets up to this size (12 MB) are kept for the next comparison."""
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantile of Student's t at 1 to 10 degrees of freedom."""


def resampled_sums(columns: Array, draws: int = DRAWS, seed: int = 0) -> Array:
    """columns [n, k] of per-document sums -> [draws, k]: their sums over n documents drawn with replacement.

    All columns are drawn together, so before and after stay paired. Equal n and seed draw equal documents.
    """
    n, rows = len(columns), max(1, BLOCK // len(columns))
    if n * draws <= REMEMBERED:
        counts = _remembered(n, draws, seed)
        return np.concatenate([counts[at : at + rows].astype(np.float64) @ columns for at in range(0, draws, rows)])
    rng = np.random.default_rng(seed)
    sizes = [min(rows, draws - at) for at in range(0, draws, rows)]
    return np.concatenate([_counts(rng, n, size).astype(np.float64) @ columns for size in sizes])


@lru_cache(maxsize=32)
def _remembered(n: int, draws: int, seed: int) -> npt.NDArray[np.uint16]:
    """The draws of a small set: a report compares several models on the same documents."""
    rng, rows = np.random.default_rng(seed), max(1, BLOCK // n)
    return np.concatenate([_counts(rng, n, min(rows, draws - at)) for at in range(0, draws, rows)]).astype(np.uint16)


def _counts(rng: np.random.Generator, n: int, draws: int) -> npt.NDArray[np.int64]:
    """[draws, n]: how often each document came up, which turns a gather into one matrix product."""
    picked = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    return np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n)


def enough(found: Interval, documents: int) -> Interval:
    """The interval, without bounds where it rests on fewer than `FEWEST` documents."""
    return found if documents >= FEWEST else Interval(found.estimate, math.nan, math.nan)


def over_seeds(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean over runs that differ in their seed; None below three of them."""
    if len(values) < 3:
        return None
    mean = float(np.mean(values))
    freedom = len(values) - 1
    quantile = T_975[freedom - 1] if freedom <= len(T_975) else 1.96 + 2.4 / freedom
    half = quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
