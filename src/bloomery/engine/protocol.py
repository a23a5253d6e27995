"""What every generation back end offers: sample answers to prompts, and score given tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.rows import Floats, TokenRow

MOST_TOP_LOGPROBS = 20
"""Most alternatives told at a position, as OpenAI's API has it."""

Reason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must be: text of a JSON schema, a regular expression, or a grammar: llguidance's Lark, or GBNF."""

    kind: Literal["json_schema", "regex", "lark"]
    text: str
    texts: tuple[str, ...] = ()
    """All answers there are, where they are known."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Raises `InputError` for values that no sampler can honour.

    In the order in which they act: penalties, bias, grammar, temperature, top-k, top-p, min-p.
    """

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
    top_k: int = 0
    """Sample among so many most probable tokens; 0: among all."""
    min_p: float = 0.0
    """Leave out tokens less probable than this part of the most probable one (arXiv 2407.01082)."""
    presence_penalty: float = 0.0
    """Taken from the logit of every token that the answer holds already (OpenAI's definition)."""
    frequency_penalty: float = 0.0
    """The same, times how often the answer holds it."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or answer (CTRL, arXiv 1909.05858)."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token, what is added to its logit)."""
    top_logprobs: int = 0
    """How many of the most probable tokens to tell at each position."""
    grammar: Grammar | None = None
    """What the answer must be; it ends where the grammar does."""

    def __post_init__(self) -> None:
        bounds = (
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more; less leaves no answer"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 for greedy answers, or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1, which samples among all tokens"),
            ("top_k", self.top_k >= 0, "0 for all tokens, or more"),
            ("min_p", 0 <= self.min_p < 1, "0 or more and less than 1"),
            ("presence_penalty", abs(self.presence_penalty) <= 2, "between -2 and 2"),
            ("frequency_penalty", abs(self.frequency_penalty) <= 2, "between -2 and 2"),
            ("repetition_penalty", 0.01 <= self.repetition_penalty <= 10, "0.01 to 10; 1 changes nothing"),
            ("top_logprobs", 0 <= self.top_logprobs <= MOST_TOP_LOGPROBS, f"0 to {MOST_TOP_LOGPROBS}"),
        )
        for name, fits, fix in bounds:
            if not fits:
                raise InputError(f"`{name}: {getattr(self, name)}` cannot be sampled with", fix=f"set it to {fix}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer. `top` holds (token, log-probability), most probable first; `ended` comes with the last.

    The last one has no `id` (-1) where an answer ends without one: cancelled, failed, or closed by its grammar.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    ended: Reason | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One answer wanted: `prompt` ids, how to sample, and the adapter's name, empty for the model itself.

    `number` tells answers of one seed apart: the n answers to one prompt have numbers 0 to n - 1.
    """

    prompt: Sequence[int]
    sampling: Sampling
    adapter: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: `ids` with its stop token, the log-probability of each, and why it ended.

    `logprobs` is float32[len(ids)] under penalties, bias, grammar and temperature but before top-k, top-p and min-p,
    as policy-gradient training needs it; greedy answers are scored at temperature 1. `seconds` is wall time from when
    the engine took the request up to its last token, `first` to its first.
    """

    ids: tuple[int, ...]
    logprobs: Floats
    finish_reason: Reason
    seconds: float
    first: float = 0.0
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    stopped: bool = True
    """Whether the last id is a stop token, which the text does not show."""

    @property
    def body(self) -> tuple[int, ...]:
        """The answer's ids without its stop token."""
        return self.ids[:-1] if self.finish_reason == "stop" and self.stopped else self.ids


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


class Ticket(Protocol):
    """A request that was taken in."""

    def cancel(self) -> None:
        """Free what it holds before the next token; its last `Token` says `cancelled`. Harmless when it has ended."""
        ...


class Service(Protocol):
    """An engine that runs by itself: requests come and go while others are answered. All methods are thread-safe."""

    def submit(self, request: Request, told: Callable[[Token], None]) -> Ticket:
        """Take in a request; `told` is called in the engine's thread for each token, and must not block or raise.

        Raises `InputError` for a prompt that is empty or leaves no room, an unknown adapter, a grammar that cannot be
        used, or fewer tokens than its answers need; `Busy` when the queue is full.
        """
        ...

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        ...


class UnusableGrammar(InputError):
    """A grammar, or a JSON schema, that no answer can be held to."""


class TooFewTokens(InputError):
    """Fewer tokens than the shortest answer of the asked form needs: `least`."""

    def __init__(self, limit: int, least: int) -> None:
        super().__init__(
            f"`max_new_tokens: {limit}` cannot hold an answer of this form: the shortest has {least} tokens",
            fix=f"set it to {least} or more; where the context ends before, shorten the prompt",
        )
        self.limit, self.least = limit, least


class Busy(Exception):
    """The queue is full: try again later."""


@dataclass
class Answer:
    """Collects the tokens of one request."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    ended: Reason | None = None
    stopped: bool = False
    error: str = ""

    def take(self, token: Token) -> None:
        """Add one token."""
        self.ended, self.error = token.ended, token.error
        self.stopped = token.ended == "stop" and token.id >= 0
        if token.id >= 0:
            self.ids.append(token.id)
            self.logprobs.append(token.logprob)
            self.top.append(token.top)

    def completion(self, seconds: float, first: float) -> Completion:
        """The finished answer."""
        return Completion(
            tuple(self.ids),
            np.array(self.logprobs, np.float32),
            self.ended or "error",
            seconds,
            first,
            tuple(self.top),
            self.stopped,
        )
