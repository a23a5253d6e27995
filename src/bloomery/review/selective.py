"""Answering only where the model is sure: risk at a coverage, and the threshold for a risk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.intervals import binomial_tail
from bloomery.review.scores import Array

STEPS = 20
"""Thresholds that are tried, at equal parts of the texts: with few above it, one would end the search by chance."""


@dataclass(frozen=True, slots=True)
class RiskCurve:
    """Risk (part of the answers that are wrong) when only the surest `coverage` of texts are answered; both [m].

    A point stands for all texts of one confidence together: ties cannot be told apart.
    """

    coverage: Array
    risk: Array
    confidence: Array

    @property
    def area(self) -> float:
        """AURC: mean risk over all coverages (arXiv 1805.08206); within a tie, the risk of the whole tie."""
        steps = np.diff(np.concatenate([[0.0], self.coverage]))
        return float((steps * self.risk).sum())

    def risk_at(self, coverage: float) -> float:
        """Risk at the least coverage that can be had of at least so much."""
        at = min(int(np.searchsorted(self.coverage, coverage - 1e-12)), len(self.risk) - 1)
        return float(self.risk[at])


def risk_curve(confidence: Array, right: Array) -> RiskCurve:
    """The curve of confidences [n] and whether each answer was right (0 or 1) [n]."""
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], 1 - right[order]
    last = np.append(np.flatnonzero(np.diff(sure)), len(sure) - 1)
    count = last + 1
    return RiskCurve(count / len(sure), np.cumsum(wrong)[last] / count, sure[last])


def threshold_for(confidence: Array, right: Array, risk: float, sure: float = 0.9) -> float | None:
    """The lowest confidence to answer at so that the risk is at most `risk`; None where no threshold keeps it.

    The bound holds with probability `sure` for one threshold: the binomial tail of the answers above it must allow it
    (Clopper and Pearson, as in arXiv 1705.08500), and thresholds are tried from the top until one fails, which keeps
    the probability over all of them (fixed-sequence testing, arXiv 2110.01052).
    """
    if not 0 < risk < 1:
        raise InputError(f"a risk of {risk:g} cannot be kept", fix="give a part between 0 and 1, such as 0.05")
    order = np.argsort(-confidence, kind="stable")
    scores, wrong = confidence[order], np.cumsum(1 - right[order])
    fewest = math.ceil(math.log(1 - sure) / math.log(1 - risk))  # so many right answers in a row prove it
    found = None
    edges = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    tried = np.unique(np.searchsorted(edges, np.linspace(0, len(scores) - 1, STEPS + 1)[1:]))
    for at in edges[tried][edges[tried] + 1 >= fewest].tolist():
        if binomial_tail(round(float(wrong[at])), at + 1, risk) > 1 - sure:
            break
        found = float(scores[at])
    return found
