"""Temperature and bias that make probabilities mean what they say, fitted by the likelihood of held-out answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from bloomery.core.errors import InputError
from bloomery.review.scores import Array, Labels, normalised

COLDEST, HOTTEST = 1 / 64, 64.0
"""Bounds of the temperature. One at a bound says that the scores are worthless, or perfect on these answers."""
GOLDEN = (math.sqrt(5) - 1) / 2
RIDGE = 1e-4
"""Pull of the biases towards 0, a nat squared an answer: with no answer of a label, its bias would run away."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """log p = normalised(scores / temperature + bias). Temperature alone never changes which label is first."""

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    @property
    def told(self) -> str:
        """The temperature, and what it means where it is near a bound."""
        said = ""
        if self.temperature >= HOTTEST / 2:
            said = ": the scores hardly tell the labels apart"
        elif self.temperature <= 2 * COLDEST:
            said = ": no answer here was wrong, or too few are"
        return f"temperature {self.temperature:.3f}{said and f' (the bound{said})'}"

    def __call__(self, scores: Array) -> Array:
        """Log-probabilities [n, labels] of scores [n, labels]."""
        bias = np.array(self.bias) if self.bias else 0.0
        return normalised(scores / self.temperature + bias)


def nll(log_p: Array, truth: Labels) -> float:
    """Mean nats that the true labels int64[n] cost."""
    return float(-log_p[np.arange(len(truth)), truth].mean())


def fit_temperature(scores: Array, truth: Labels) -> Scaling:
    """The temperature with the least NLL (arXiv 1706.04599).

    NLL is convex in the inverse temperature, so a golden-section search over it is safe: it needs no step size and
    cannot diverge.
    """
    _refuse_few(truth)
    beta = least(lambda b: nll(normalised(scores * b), truth), 1 / HOTTEST, 1 / COLDEST)
    return Scaling(1 / beta)


def fit_vector(scores: Array, truth: Labels, rounds: int = 50) -> Scaling:
    """A temperature and one bias a label (vector scaling with one scale, arXiv 1706.04599), by turns.

    NLL is convex in inverse temperature and biases together; each turn is a golden-section search or a damped Newton
    step, neither of which raises it.
    """
    _refuse_few(truth)
    beta, bias = 1.0, np.zeros(scores.shape[1])

    def loss(b: float, shift: Array) -> float:
        return nll(normalised(scores * b + shift), truth) + RIDGE * float(shift @ shift)

    before = loss(beta, bias)
    for _ in range(rounds):
        beta = least(partial(loss, shift=bias), 1 / HOTTEST, 1 / COLDEST)
        bias = _newton(partial(loss, beta), scores * beta, truth, bias)
        after = loss(beta, bias)
        if before - after < 1e-9:
            break
        before = after
    bias = bias - bias.mean()
    return Scaling(1 / beta, tuple(float(b) for b in bias))


def fit(scores: Array, truth: Labels, folds: int = 5, seed: int = 0) -> tuple[Scaling, dict[str, float]]:
    """The scaling whose NLL is least on answers it was not fitted on, and that NLL of each kind by cross-validation.

    A bias is only kept where it helps; with few answers the temperature alone is the safer one.
    """
    _refuse_few(truth)
    kinds: dict[str, Callable[[Array, Labels], Scaling]] = {
        "none": lambda s, t: Scaling(),
        "temperature": fit_temperature,
        "vector": fit_vector,
    }
    part = np.random.default_rng(seed).permutation(len(truth)) % min(folds, len(truth))
    found = {}
    for name, how in kinds.items():
        costs = [
            nll(how(scores[part != k], truth[part != k])(scores[part == k]), truth[part == k]) * (part == k).sum()
            for k in range(part.max() + 1)
        ]
        found[name] = float(sum(costs)) / len(truth)
    best = min(found, key=lambda name: found[name])
    return kinds[best](scores, truth), found


def least(loss: Callable[[float], float], low: float, high: float, steps: int = 60) -> float:
    """Where a function with one valley is least between two positive bounds, by golden section of the logarithm."""
    a, b = math.log(low), math.log(high)
    c, d = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
    at_c, at_d = loss(math.exp(c)), loss(math.exp(d))
    for _ in range(steps):
        if at_c <= at_d:
            b, d, at_d = d, c, at_c
            c = b - GOLDEN * (b - a)
            at_c = loss(math.exp(c))
        else:
            a, c, at_c = c, d, at_d
            d = a + GOLDEN * (b - a)
            at_d = loss(math.exp(d))
    return math.exp((a + b) / 2)


def _newton(loss: Callable[[Array], float], scores: Array, truth: Labels, bias: Array) -> Array:
    """One Newton step of the biases, halved until it does not raise the loss."""
    p = np.exp(normalised(scores + bias))
    wanted = np.eye(scores.shape[1])[truth]
    gradient = (p - wanted).mean(axis=0) + 2 * RIDGE * bias
    curvature = np.diag(p.mean(axis=0)) - p.T @ p / len(p) + 2 * RIDGE * np.eye(len(bias))
    step, now = np.linalg.solve(curvature, gradient), loss(bias)
    for _ in range(30):
        if loss(bias - step) <= now:
            moved: Array = bias - step
            return moved
        step = step / 2
    return bias


def _refuse_few(truth: Labels) -> None:
    if len(truth) < 10:
        raise InputError(f"{len(truth)} answers are too few to calibrate on", fix="give 10 or more, better 500")
