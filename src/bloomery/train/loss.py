"""Losses: from log-probabilities at trained positions to one scalar.

Every part is a sum over tokens with its weight, divided by that part's own denominator over the whole
step; the sum over micro-batches and ranks is the step's loss, however the rows were split.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bloomery.train.batch import MicroBatch
from bloomery.train.config import Optim
from bloomery.train.preference import preference

Part = Callable[[torch.Tensor, MicroBatch], torch.Tensor]


def cross_entropy(logp: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """Weighted sum of negative log-likelihoods; `logp` float32[n]."""
    return -(logp * batch.weight["ce"]).sum()


TOKEN_PARTS: dict[str, Part] = {"ce": cross_entropy}
"""Loss part -> its sum over one micro-batch; `pref` sums over groups. Policy gradient and KL join with theirs."""


def step_loss(
    logp: torch.Tensor,
    lse: torch.Tensor,
    batch: MicroBatch,
    denominator: dict[str, float],
    optim: Optim,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """This micro-batch's share of the step's loss, and the detached share of each part, with the sums of `pref`.

    `logp` and `lse` (log-partition) are float32[n] at the batch's weighted positions.
    """
    shares: dict[str, torch.Tensor] = {}
    total = 0.0 * logp.sum()  # a graph even where no part counts: ranks meet in the same collectives
    for part in batch.weight:
        if part not in denominator:
            continue
        if part == "pref":
            share, sums = preference(logp, batch, optim.preference)
            shares |= sums
        else:
            share = TOKEN_PARTS[part](logp, batch)
        share = share / denominator[part]
        total = total + optim.coefficient.get(part, 1.0) * share
        shares[part] = share.detach()
    if optim.z_loss and "ce" in batch.weight and "ce" in denominator:
        share = (lse.square() * batch.weight["ce"]).sum() / denominator["ce"]
        total = total + optim.z_loss * share
        shares["z"] = share.detach()
    return total, shares
