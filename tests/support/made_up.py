"""Made-up evaluations for tests: results with known figures, without any model."""

from __future__ import annotations

from collections.abc import Sequence

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
