"""What graders take and give: the same rows for rewards, evaluation and guards.

In: `[{id, messages, reference_answer, metadata}]`, the reference also inside `metadata` for reward
functions written for other systems. Out: `[{id, aggregate_reward_score, metrics_list?}]`. A grader
that fails leaves no score: None with a reason, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to grade: the last of `messages` is the assistant's."""

    id: str
    messages: Sequence[Message]
    reference_answer: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """Text of the last message."""
        return text_of(self.messages[-1]) if self.messages else ""

    def payload(self) -> dict[str, Any]:
        """The JSON that a user's function or endpoint receives."""
        metadata = {**self.metadata, "reference_answer": self.reference_answer}
        messages = [dict(message) for message in self.messages]
        return {"id": self.id, "messages": messages, "reference_answer": self.reference_answer, "metadata": metadata}


@dataclass(frozen=True, slots=True)
class Metric:
    """One component of a score; a `Reward` counts towards the aggregate, a `Metric` is only reported."""

    name: str
    value: float
    type: Literal["Metric", "Reward"] = "Metric"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", writable(self.name))


@dataclass(frozen=True, slots=True)
class Score:
    """A grade; `aggregate_reward_score` None means unscorable, and `reason` says why."""

    id: str
    aggregate_reward_score: float | None
    metrics_list: tuple[Metric, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", writable(self.reason))

    def payload(self) -> dict[str, Any]:
        """The JSON form, with `metrics_list` and `reason` only where there are any."""
        out: dict[str, Any] = {"id": self.id, "aggregate_reward_score": self.aggregate_reward_score}
        if self.metrics_list:
            out["metrics_list"] = [{"name": m.name, "value": m.value, "type": m.type} for m in self.metrics_list]
        return out | ({"reason": self.reason} if self.reason else {})


class Grader(Protocol):
    """Scores answers. `verified` says whether the score is checked (True) or judged."""

    @property
    def name(self) -> str: ...

    @property
    def verified(self) -> bool: ...

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, with its id, in order; never raises for what a sample holds."""
        ...


def text_of(message: Message) -> str:
    """The text of a message whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or [] if isinstance(part, Mapping))


def writable(text: str) -> str:
    """Text that a file can hold: `?` for half of a surrogate pair, which JSON can hold and what others say may."""
    return text.encode("utf-8", "replace").decode()


def number_or_reason(value: Any) -> tuple[float | None, str]:
    """(score, "") for a finite number, else (None, why it is none): a bool, a string or NaN is never coerced."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, f"the grader returned {_shown(value)}, not a number"
    try:
        number = float(value)
    except OverflowError:  # JSON has whole numbers without end
        return None, "the grader returned a number too large"
    return (number, "") if math.isfinite(number) else (None, f"the grader returned {number}")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.40}" if value is not None else "nothing"
