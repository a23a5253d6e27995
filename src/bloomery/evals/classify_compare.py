"""One model for many questions against one model for each: quality, latency, cost of answers, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.evals.classify import Classifier, Row
from bloomery.evals.classify_report import ClassifierReport


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds that a text takes with all its questions, asked one text at a time: p50, p95 and the mean."""

    p50: float
    p95: float
    mean: float


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer all questions. `trained_tokens` and `trained_seconds` are of all its models together."""

    name: str
    models: int
    report: ClassifierReport
    latency: Latency
    trained_tokens: int
    trained_seconds: float


def latency(classifiers: Sequence[Classifier], rows: Sequence[Row]) -> Latency:
    """Time rows one by one through all the classifiers that a text needs; the first row is not counted."""
    if len(rows) < 2:
        raise InputError("latency needs two rows or more: the first warms up", fix="give more rows")
    spent = np.array([sum(one([row]).seconds for one in classifiers) for row in rows][1:])
    p50, p95 = np.percentile(spent, [50, 95])
    return Latency(float(p50), float(p95), float(spent.mean()))


def table(arms: Sequence[Arm], price: float) -> list[dict[str, Any]]:
    """A row an arm; `price` is what an hour of this machine costs, in any currency.

    The cost of 1,000 answers is that of 1,000 texts under all questions, one at a time, with the machine to itself.
    """
    return [
        {
            "arm": arm.name,
            "models": arm.models,
            "f1": arm.report.mean("f1"),
            "auroc": arm.report.mean("auroc"),
            "ece": arm.report.mean("ece"),
            "p50_ms": 1e3 * arm.latency.p50,
            "p95_ms": 1e3 * arm.latency.p95,
            "cost_per_1000": 1000 * arm.latency.mean / 3600 * price,
            "trained_tokens": arm.trained_tokens,
            "trained_seconds": arm.trained_seconds,
        }
        for arm in arms
    ]


def by_question(arms: Sequence[Arm], figure: str = "f1") -> Mapping[str, Mapping[str, float]]:
    """A figure of every question in every arm: question -> arm -> value."""
    names = arms[0].report.questions
    return {name: {arm.name: arm.report.questions[name].figures[figure].estimate for arm in arms} for name in names}
