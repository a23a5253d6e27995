"""What every generation back end offers: sample answers to prompts, and score given tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bloomery.core.errors import InputError
from bloomery.core.rows import Floats, TokenRow


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Raises `InputError` for values that no sampler can honour."""

    max_new_tokens: int = 64
    """Most tokens in an answer, the stop token included."""
    temperature: float = 0.0
    """0 takes the most probable token; otherwise logits are divided by it."""
    top_p: float = 1.0
    """Sample among the smallest set of tokens that holds this much probability (arXiv 1904.09751)."""
    seed: int = 0
    """The same seed gives the same answers, however prompts fall into batches."""
    stop_ids: tuple[int, ...] | None = None
    """Tokens that end an answer. None: the model's own end-of-text tokens."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"`max_new_tokens: {self.max_new_tokens}` leaves no answer", fix="set it to 1 or more")
        if not self.temperature >= 0:
            raise InputError(f"`temperature: {self.temperature}` is below zero", fix="use 0 for greedy answers")
        if not 0 < self.top_p <= 1:
            raise InputError(f"`top_p: {self.top_p}` is outside (0, 1]", fix="use 1 to sample among all tokens")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: `ids` with its stop token, the log-probability of each, and why it ended.

    `logprobs` is float32[len(ids)] under the temperature but before top-p, as policy-gradient training
    needs it; greedy answers are scored at temperature 1. `seconds` is wall time from the start of the
    answer's batch to its last token.
    """

    ids: tuple[int, ...]
    logprobs: Floats
    finish_reason: Literal["stop", "length"]
    seconds: float

    @property
    def body(self) -> tuple[int, ...]:
        """The answer's ids without its stop token."""
        return self.ids[:-1] if self.finish_reason == "stop" else self.ids


class Engine(Protocol):
    """A model that answers and scores. Answers come back in the order of the prompts."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer for each prompt of token ids. Raises `InputError` for an empty or over-long prompt."""
        ...

    def score(self, rows: Sequence[TokenRow]) -> list[Floats]:
        """float32[T] for each row: log-probability of `ids[t]` given `ids[:t]`; 0 at t = 0."""
        ...

    @property
    def context(self) -> int:
        """Most tokens a row, or a prompt with its answer, may have."""
        ...
