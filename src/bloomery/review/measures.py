"""What a classifier is worth: calibration error, Brier score, AUROC, F1, each with an interval over texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bloomery.core.intervals import Interval, percentile
from bloomery.review.scores import Array, Labels
from bloomery.review.selective import risk_curve

BINS = 15
"""Bins of equal width of the confidence, as in arXiv 1706.04599; empty ones count nothing."""
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Bin:
    """Texts of one bin: how many, their mean confidence, and how often they were right."""

    count: int
    confidence: float
    right: float


def bins(confidence: Array, right: Array, count: int = BINS) -> list[Bin]:
    """`count` bins of equal width over [0, 1], left out where they hold no text."""
    number = np.minimum((confidence * count).astype(np.int64), count - 1)
    return [
        Bin(int(here.sum()), float(confidence[here].mean()), float(right[here].mean()))
        for here in (number == k for k in range(count))
        if here.any()
    ]


def ece(confidence: Array, right: Array, count: int = BINS) -> float:
    """Expected calibration error: |confidence - accuracy| of each bin, weighted by its texts."""
    number = np.minimum((confidence * count).astype(np.int64), count - 1)
    gaps = np.bincount(number, weights=confidence - right, minlength=count)
    return float(np.abs(gaps).sum()) / len(confidence)


def brier(p: Array, truth: Labels) -> float:
    """Mean squared error of the probabilities [n, labels], summed over labels: 0 is perfect, 2 the worst."""
    return float(((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1).mean())


def auroc(scores: Array, positive: Array) -> float:
    """Chance that a positive has a higher score than a negative, a tie counting half; NaN with one kind only."""
    wanted = positive.astype(bool)
    ups, downs = int(wanted.sum()), int((~wanted).sum())
    if not ups or not downs:
        return math.nan
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return float((rank[place][wanted].sum() - ups * (ups + 1) / 2) / (ups * downs))


def f1(said: npt.NDArray[np.bool_], positive: Array) -> float:
    """Harmonic mean of precision and recall; 0 where nothing was found."""
    hit = float((said.astype(bool) & positive.astype(bool)).sum())
    return 2 * hit / max(float(said.astype(bool).sum() + positive.astype(bool).sum()), 1.0)


def best_cut(scores: Array, positive: Array) -> float:
    """The score from which texts are called positive with the highest F1 on these; the highest of equal ones."""
    order = np.argsort(-scores, kind="stable")
    hits, said = np.cumsum(positive[order]), np.arange(1, len(scores) + 1)
    value = 2 * hits / (said + positive.sum())
    last = np.append(np.diff(scores[order]) != 0, True)  # all texts of one score fall on the same side
    return float(scores[order][np.argmax(np.where(last, value, -1.0))])


def recall_at_precision(scores: Array, positive: Array, precision: float) -> float:
    """The largest part of the positives found while at least `precision` of what is called so is; 0 where none is."""
    order = np.argsort(-scores, kind="stable")
    hits, said = np.cumsum(positive[order]), np.arange(1, len(scores) + 1)
    fits = np.append(np.diff(scores[order]) != 0, True) & (hits / said >= precision)
    return float((hits[fits] / max(positive.sum(), 1)).max(initial=0.0))


def labels_until(labels: Sequence[int], caught: Sequence[float], target: float) -> int | None:
    """Fewest labels after which `target` of a new threat's held-out texts are caught, and stay so; None: never.

    `labels[k]` had been given when `caught[k]` was measured. One lucky measurement that is lost again counts nothing.
    """
    found = None
    for count, value in zip(labels, caught, strict=True):
        found = (count if found is None else found) if value >= target else None
    return found


def bounded(figure: Callable[[Labels], float], texts: int, draws: int = DRAWS, seed: int = 0) -> Interval:
    """A figure of text numbers int64[n], with its percentile bootstrap over texts drawn with replacement."""
    rng = np.random.default_rng(seed)
    drawn = np.array([figure(rng.integers(0, texts, texts)) for _ in range(draws)])
    return percentile(figure(np.arange(texts)), drawn)


def figures(p: Array, truth: Labels, positive: int, cut: float, draws: int = DRAWS) -> dict[str, Interval]:
    """Every figure of one question, by name; `cut` is the probability from which a text is called positive."""
    sure, first = p.max(axis=1), p.argmax(axis=1)
    right, wanted = (first == truth).astype(np.float64), (truth == positive).astype(np.float64)
    score = p[:, positive]
    found: dict[str, Callable[[Labels], float]] = {
        "accuracy": lambda i: float(right[i].mean()),
        "f1": lambda i: f1(score[i] >= cut, wanted[i]),
        "auroc": lambda i: auroc(score[i], wanted[i]),
        "ece": lambda i: ece(sure[i], right[i]),
        "brier": lambda i: brier(p[i], truth[i]),
        "aurc": lambda i: risk_curve(sure[i], right[i]).area,
        "risk_at_80": lambda i: risk_curve(sure[i], right[i]).risk_at(0.8),
    }
    return {name: bounded(how, len(truth), draws) for name, how in found.items()}
