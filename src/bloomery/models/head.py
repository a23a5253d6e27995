"""From hidden states to log-probabilities of given tokens, a few rows at a time.

The logits of a whole batch, [n, V], are never held in fp32: at n = 16k and a vocabulary of 128k they
alone would take 8 GB. Rows: n; hidden width: H; vocabulary: V.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Head:
    """How an architecture maps hidden states to logits: softcap(scale * (hidden @ weight.T + bias))."""

    linear: nn.Linear
    scale: float = 1.0
    softcap: float | None = None


def find_head(model: nn.Module) -> Head:
    """Read the head of a causal LM from its output embeddings and config; `parity.check` proves it."""
    config: Any = model.config
    linear: Any = model.get_output_embeddings()  # type: ignore[operator]
    scale = 1.0
    if getattr(config, "logits_scaling", None):  # Granite divides
        scale = 1.0 / config.logits_scaling
    elif getattr(config, "logit_scale", None):  # Cohere multiplies
        scale = config.logit_scale
    return Head(linear, scale, getattr(config, "final_logit_softcapping", None))


def token_logprobs(hidden: Tensor, head: Head, targets: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """hidden [n, H], targets int64[n] -> (logp fp32[n], lse fp32[n]): log-probability of the target, log normaliser."""
    parts = [
        torch.utils.checkpoint.checkpoint(_logprobs, h, head, t, use_reentrant=False)
        for h, t in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def logits(hidden: Tensor, head: Head) -> Tensor:
    """hidden [..., H] -> logits fp32[..., V], scaled and capped as the architecture does."""
    raw = head.linear(hidden).float() * head.scale
    return raw if head.softcap is None else torch.tanh(raw / head.softcap) * head.softcap


def _logprobs(hidden: Tensor, head: Head, targets: Tensor) -> tuple[Tensor, Tensor]:
    scores = logits(hidden, head)
    lse = scores.logsumexp(-1)
    return scores.gather(1, targets[:, None])[:, 0] - lse, lse
