"""A grader written by the user: a Python function, run in a process that can be killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.sandbox import Limits, Outcome, call_each
from bloomery.graders.payload import Metric, Sample, Score, number_or_reason


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """`function(sample: dict)` of a Python file returns a number, or `{aggregate_reward_score, metrics_list?}`."""

    path: str
    function: str = "grade"
    name: str = "python"
    trusted: bool = False
    """The code runs with your rights to files and network: say that you know."""
    seconds: float = 10.0
    """What one call may take."""
    memory: int = 2 << 30
    """Bytes of address space, libraries included."""
    verified: bool = True

    def __post_init__(self) -> None:
        if self.trusted is not True:
            raise InputError(
                f"grader `{self.name}` runs the Python code in {self.path}, with your rights",
                fix="read it, then set `trusted: true`",
            )

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The function's scores; unscorable where it raises, hangs, dies or returns no finite number.

        Raises `InputError` when the file is missing, does not import or lacks the function.
        """
        items = [sample.payload() for sample in samples]
        outcomes = call_each(Path(self.path), self.function, items, Limits(self.seconds, self.memory))
        return [_score(sample, outcome) for sample, outcome in zip(samples, outcomes, strict=True)]


def _score(sample: Sample, outcome: Outcome) -> Score:
    if outcome.error:
        return Score(sample.id, None, reason=outcome.error)
    value: Any = outcome.value
    metrics: tuple[Metric, ...] = ()
    if isinstance(value, Mapping):
        if value.get("id", sample.id) != sample.id:
            return Score(sample.id, None, reason=f"the grader answered for `{value['id']!s:.40}`")
        value, metrics = value.get("aggregate_reward_score"), _metrics(value.get("metrics_list"))
    score, reason = number_or_reason(value)
    return Score(sample.id, score, metrics, reason)


def _metrics(listed: Any) -> tuple[Metric, ...]:
    """The components that are whole; a broken one is left out, since it does not decide the score."""
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    return tuple(
        Metric(str(row["name"]), float(row["value"]), "Reward" if row.get("type") == "Reward" else "Metric")
        for row in rows
        if "name" in row and number_or_reason(row.get("value"))[0] is not None
    )
