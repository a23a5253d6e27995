"""One request while the engine works on it: what it has said, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bloomery.engine.grammar import Matcher
from bloomery.engine.protocol import Reason, Request, Token
from bloomery.engine.sampler import bias_of, penalise, penalises

if TYPE_CHECKING:
    from bloomery.engine.slots import Slot


@dataclass(eq=False, slots=True)
class Running:
    """A request that was taken in; it is its own ticket."""

    request: Request
    told: Callable[[Token], None]
    limit: int
    """Most tokens of its answer."""
    stops: frozenset[int]
    matcher: Matcher | None = None
    prompt: np.ndarray = field(init=False)
    ids: list[int] = field(default_factory=list)
    slot: Slot | None = None
    """Where its keys and values are, once it has a place."""
    opening: Tensor | None = None
    """[V]: logits after its prompt, where others with the same prompt began or wait to begin with them."""
    penalised: bool = field(init=False)
    bias: tuple[Tensor, Tensor] | None = field(init=False)
    """Ids int64[n] of `logit_bias` and what is added to their logits fp32[n]."""
    edits: bool = field(init=False)
    """Whether its logits are changed before a token is chosen."""
    began: float = 0.0
    ended: bool = False
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.prompt = np.asarray(self.request.prompt, np.int64)
        sampling = self.request.sampling
        self.penalised, self.bias = penalises(sampling), bias_of(sampling)
        self.edits = self.matcher is not None or self.penalised or self.bias is not None

    def cancel(self) -> None:
        """End it before the next token."""
        self.cancelled = True

    def start(self) -> None:
        """It is being worked on from now."""
        self.began = time.perf_counter()

    def edit(self, logits: Tensor) -> None:
        """Apply penalties, bias and grammar to its logits fp32[V] in place."""
        if self.penalised:
            device = logits.device
            told = torch.tensor(self.ids, dtype=torch.long, device=device)
            penalise(logits, self.request.sampling, torch.from_numpy(self.prompt).to(device), told)
        if self.bias is not None:
            logits.index_add_(0, *(part.to(logits.device) for part in self.bias))
        if self.matcher is not None:
            self.matcher.mask(logits)

    def within(self, token: int) -> int:
        """The token to take for the one that was chosen: another where its grammar could not end within its limit."""
        return token if self.matcher is None else self.matcher.within(token, self.limit - len(self.ids) - 1)

    def take(self, token: int, logprob: float, top: tuple[tuple[int, float], ...]) -> None:
        """Its next token is chosen."""
        self.ids.append(token)
        error = self.matcher.take(token) if self.matcher is not None else ""
        if error:
            self.told(Token(token, logprob, top))
            return self.end("error", error)
        reason: Reason | None = "stop" if token in self.stops else "length" if len(self.ids) >= self.limit else None
        closed = reason != "stop" and self.matcher is not None and self.matcher.ended
        self.ended = reason is not None and not closed
        self.told(Token(token, logprob, top, None if closed else reason))
        if closed:
            self.end("stop")
        return None

    def end(self, reason: Reason, error: str = "") -> None:
        """It ends without a further token."""
        self.ended = True
        self.told(Token(-1, 0.0, (), reason, error))
