"""Losses: from log-probabilities at trained positions to one scalar.

Every part is a sum over tokens with its weight, divided by that part's own denominator over the whole
step; the sum over micro-batches and ranks is the step's loss, however the rows were split.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bloomery.train import policy, preference
from bloomery.train.batch import MicroBatch
from bloomery.train.config import Optim

Part = Callable[[torch.Tensor, MicroBatch], torch.Tensor]
Telling = Callable[[torch.Tensor, MicroBatch, Optim], tuple[torch.Tensor, dict[str, torch.Tensor]]]


def cross_entropy(logp: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """Weighted sum of negative log-likelihoods; `logp` float32[n]."""
    return -(logp * batch.weight["ce"]).sum()


TOKEN_PARTS: dict[str, Part] = {"ce": cross_entropy, "kl": policy.k3}
"""Loss part -> its sum over one micro-batch."""

TELLING_PARTS: dict[str, Telling] = {
    "pg": lambda logp, batch, optim: policy.policy_gradient(logp, batch, optim.policy),
    "pref": lambda logp, batch, optim: preference.preference(logp, batch, optim.preference),
}
"""Parts that tell more than their sum: also `SUMS`, of which `figures` are made. `pref` sums over groups."""

SUMS = {"pg": policy.SUMS, "pref": preference.SUMS}


def figures(totals: dict[str, float], denominator: dict[str, float]) -> dict[str, float]:
    """What a step tells besides its losses, from its `SUMS` over all micro-batches and ranks."""
    found = preference.figures(totals, denominator["pref"]) if "pref" in denominator else {}
    return found | (policy.figures(totals) if "pg" in denominator else {})


def step_loss(
    logp: torch.Tensor,
    lse: torch.Tensor,
    batch: MicroBatch,
    denominator: dict[str, float],
    optim: Optim,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """This micro-batch's share of the step's loss, and the detached share of each part, with their `SUMS`.

    `logp` and `lse` (log-partition) are float32[n] at the batch's weighted positions.
    """
    shares: dict[str, torch.Tensor] = {}
    total = 0.0 * logp.sum()  # a graph even where no part counts: ranks meet in the same collectives
    for part in batch.weight:
        if part not in denominator:
            continue
        if part in TELLING_PARTS:
            share, sums = TELLING_PARTS[part](logp, batch, optim)
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
