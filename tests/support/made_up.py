"""Made-up evaluations for tests: results with known figures, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bloomery.evals.results import EvalResult, Record, SuiteResult


def bits(name: str, group: str, nats: Sequence[float], size: int = 100) -> SuiteResult:
    """A bits-per-byte suite with one document of `size` bytes for each number of nats."""
    records = tuple(Record(f"{name}-{i}", nats=float(n), bytes=size, tokens=30) for i, n in enumerate(nats))
    return SuiteResult(name, "bpb", group, records, 1.0)


def scores(
    name: str, group: str, values: Sequence[float | None], part: str = "", chance: float = 0.0, kind: str = "generate"
) -> SuiteResult:
    """A graded suite; None is an answer that could not be graded."""
    records = tuple(
        Record(
            f"{name}-{i}",
            part,
            v,
            tokens=9,
            seconds=0.01 * (i + 1),
            chance=chance,
            prompt=f"ask {i}",
            answer=f"say {v}",
        )
        for i, v in enumerate(values)
    )
    return SuiteResult(name, kind, group, records, 1.0)


def evaluation(model: str, *suites: SuiteResult) -> EvalResult:
    """An evaluation of these suites."""
    return EvalResult(model, {suite.name: suite for suite in suites}, 2.0)


SKILLS = ("addition", "sort_words", "copy", "dates", "units", "table", "reverse", "location", "count_items")


def model(name: str, seed: int, domain: float, general: float, skill: float, rewritten: float = 0.0) -> EvalResult:
    """A whole evaluation whose figures are what is asked, up to noise; `rewritten` of the answers move at random."""
    base, rng = np.random.default_rng(0), np.random.default_rng(seed)
    size = 400
    texts = base.gamma(6, 12, size)
    parts = []
    for number, part in enumerate(SKILLS):
        draw = base.random(100)
        draw = np.where(rng.random(100) < rewritten, rng.random(100), draw)
        level = min(max(skill + 0.12 * np.sin(3 * number), 0.02), 0.98)
        parts += list(scores("skills", "skills", (draw < level).astype(float).tolist(), part=part).records)
    records = tuple(replace(record, id=str(i), reference="42") for i, record in enumerate(parts))
    graded = {
        group: (base.random(150) < level).astype(float).tolist()
        for group, level in (("instruction", skill), ("refusal", 0.93), ("over_refusal", 0.9))
    }
    return evaluation(
        name,
        bits("handbook", "domain", texts * domain * rng.normal(1, 0.05, size)),
        bits("documentation", "general", texts * general * rng.normal(1, 0.02, size)),
        SuiteResult("skills", "generate", "skills", records, 3.0),
        *(scores(group, group, values) for group, values in graded.items()),
    )
