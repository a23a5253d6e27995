"""Choosing the next token of many rows at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bloomery.engine.protocol import Sampling


def choose(logits: Tensor, sampling: Sampling, rows: npt.NDArray[np.int64], step: int) -> tuple[Tensor, Tensor]:
    """logits [B, V] -> (token int64[B], its logp fp32[B]) for prompts number `rows` at answer position `step`."""
    scores = logits.float()
    if sampling.temperature == 0:
        token = scores.argmax(-1)
    else:
        scores = scores / sampling.temperature
        token = _draw(scores, sampling.top_p, uniform(sampling.seed, rows, step).to(scores.device))
    logp = scores.gather(1, token[:, None])[:, 0] - scores.logsumexp(-1)
    return token, logp


def _draw(scores: Tensor, top_p: float, u: Tensor) -> Tensor:
    """Inverse-CDF sampling: the first token, most probable first, at which the cumulative probability passes u."""
    p, order = scores.softmax(-1).sort(dim=-1, descending=True)
    cumulative = p.cumsum(-1)
    kept = (cumulative - p < top_p).sum(-1, keepdim=True)  # the token that reaches top_p is still in the set
    mass = cumulative.gather(1, kept - 1)
    place = torch.searchsorted(cumulative, u[:, None].to(cumulative.dtype) * mass, right=True)
    return order.gather(1, torch.minimum(place, kept - 1))[:, 0]


def uniform(seed: int, rows: npt.NDArray[np.int64], step: int) -> Tensor:
    """One number in [0, 1) for each row: a hash of (seed, row, step), so that it does not depend on the batch."""
    state = _mix(np.uint64(seed & 0xFFFFFFFFFFFFFFFF) + rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    state = _mix(state ^ np.uint64(step * 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF))
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014); arithmetic wraps on purpose."""
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
