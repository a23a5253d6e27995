"""Detectors that judge a text as a whole: a trained head, a grader, a question to the served model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from bloomery.graders.payload import Grader, Sample
from bloomery.serve.policy.head import Head

Messages = Sequence[Mapping[str, Any]]
Ask = Callable[[str, Sequence[str]], str]
"""(question, the labels that may be answered) -> the answer."""
HEAD_EVERY = 400


class Failed(Exception):
    """A detector gave no answer, for the reason that is its text; `words` are somebody's own, as in `Flag`."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.words = words


class Flag(NamedTuple):
    """Why a text is flagged, and what who read it said besides: `words` may repeat the text."""

    reason: str
    words: str = ""


class Whole(Protocol):
    """Judges a text; `every` is how many characters apart it looks again, None for once at the end."""

    @property
    def name(self) -> str: ...

    @property
    def every(self) -> int | None: ...

    @property
    def slow(self) -> bool:
        """Whether it is asked about the last message of a conversation only, which it sees with those before it."""
        ...

    def flags(self, messages: Messages, role: str, text: str) -> Flag | None:
        """Why `text`, said by `role` after `messages`, is flagged, or None where it is not. Raises `Failed`."""
        ...


@dataclass(frozen=True, slots=True)
class HeadDetector:
    """A head over the last stretch of the text, so that a long harmless beginning dilutes nothing."""

    name: str
    head: Head
    threshold: float
    every: int | None = HEAD_EVERY
    slow: bool = False

    def flags(self, messages: Messages, role: str, text: str) -> Flag | None:
        """The probability where it reaches the threshold. The last two stretches are read."""
        seen = text if self.every is None else text[-(len(text) % self.every or self.every) - self.every :]
        probability = self.head.probability(seen)
        if probability < self.threshold:
            return None
        return Flag(f"probability {probability:.2f} (threshold {self.threshold:.2f})")


@dataclass(frozen=True, slots=True)
class GraderDetector:
    """A grader's score against a threshold."""

    name: str
    grader: Grader
    threshold: float
    low: bool
    every: int | None = None
    slow: bool = True

    def flags(self, messages: Messages, role: str, text: str) -> Flag | None:
        """The score where it is on the wrong side of the threshold, with the grader's reason."""
        sample = Sample("policy", [*messages, {"role": role, "content": text}])
        try:
            (score,) = self.grader.grade([sample])
        except Exception as error:  # whatever a grader meets must not pass as harmless
            raise Failed(f"{self.grader.name} failed", str(error)) from error
        value = score.aggregate_reward_score
        if value is None:
            raise Failed(f"{self.grader.name} gave no score", score.reason)
        if (value > self.threshold) if self.low else (value < self.threshold):
            return None
        return Flag(f"score {value:g} (threshold {self.threshold:g})", score.reason)


@dataclass(frozen=True, slots=True)
class AskDetector:
    """A question to the served model, whose answer is one of the labels."""

    name: str
    ask: Ask
    question: str
    labels: tuple[str, ...]
    flagged: tuple[str, ...]
    every: int | None = None
    slow: bool = True

    def flags(self, messages: Messages, role: str, text: str) -> Flag | None:
        """The label where it is one of those that flag."""
        try:
            label = self.ask(self.question.replace("{text}", text), self.labels)
        except Exception as error:  # whatever an engine meets must not pass as harmless
            raise Failed("the served model was not asked", str(error)) from error
        if label not in self.labels:
            raise Failed("the served model answered with no label", label[:40])
        return Flag(f"the served model says `{label}`") if label in self.flagged else None
