"""The one module that is trained: backbone, the architecture's own head at weighted positions, loss.

It is the only FSDP2 root: calling an inner module and then reading the head's weight would see
sharded parameters.
"""

from __future__ import annotations

import torch
from torch import nn

from bloomery.models.backbone import hidden_states, padded_hidden_states
from bloomery.models.head import leading_logprobs, token_logprobs, weighted_sum
from bloomery.models.load import Loaded
from bloomery.train.batch import MicroBatch
from bloomery.train.config import Optim
from bloomery.train.loss import step_loss


class TrainModule(nn.Module):
    """`forward(batch, ...)` gives the micro-batch's share of the step's loss."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.model = loaded.model
        self.head = loaded.head
        self.packing = "shared" if loaded.shares else loaded.packing
        """How micro-batches are made for it: "padded", "packed", or "shared" (`batch.py`)."""

    def forward(
        self, batch: MicroBatch, denominator: dict[str, float], optim: Optim
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss (scalar, fp32, with a graph) and the detached share of each part."""
        if set(batch.weight) == {"ce"} and "ce" in denominator:
            return self._cross_entropy(batch, denominator["ce"], optim)
        logp, lse = self.log_probabilities(batch, optim.policy.temperature)
        return step_loss(logp, lse, batch, denominator, optim)

    def _cross_entropy(
        self, batch: MicroBatch, denominator: float, optim: Optim
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """`step_loss` where cross-entropy is all there is: its gradient is formed in the forward, each logit once."""
        share = batch.weight["ce"] / denominator
        z = share * optim.z_loss if optim.z_loss else None
        picked = self.hidden(batch).flatten(0, 1).index_select(0, batch.at)
        weight = share * -optim.coefficient.get("ce", 1.0)
        loss, logp, lse = weighted_sum(picked, self.head, batch.targets, weight, z)
        shares = {"ce": -(logp * share).sum()}
        if z is not None:
            shares["z"] = (lse.square() * share).sum()
        return loss, shares

    def score(self, batch: MicroBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """`log_probabilities` for those who want no loss. `forward` must not call it: both gather what is sharded."""
        return self.log_probabilities(batch, temperature)

    def leading(self, batch: MicroBatch, ids: torch.Tensor | None = None, count: int = 0) -> tuple[torch.Tensor, ...]:
        """Log-probability of each target fp32[n], and of `ids` int64[n, k] (None: the `count` likeliest tokens): the
        ids and fp32[n, k]. Without a gradient."""
        picked = self.hidden(batch).flatten(0, 1).index_select(0, batch.at)
        return leading_logprobs(picked, self.head, batch.targets, ids, count)

    def log_probabilities(self, batch: MicroBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each target and log-partition, both float32[n]; of rollouts at their `temperature`."""
        picked = self.hidden(batch).flatten(0, 1).index_select(0, batch.at)
        return token_logprobs(picked, self.head, batch.targets, _temperatures(batch, temperature))

    def hidden(self, batch: MicroBatch) -> torch.Tensor:
        """Final hidden states, [1, L, H] packed or [B, T, H] padded."""
        if batch.bounds is not None:
            return hidden_states(self.model, batch.input_ids, batch.position_ids, batch.bounds)
        assert batch.attention_mask is not None
        return padded_hidden_states(self.model, batch.input_ids, batch.attention_mask)


def _temperatures(batch: MicroBatch, temperature: float) -> torch.Tensor | None:
    """fp32[n]: rollouts' tokens at the temperature that they were sampled at, all others at 1; None where all are."""
    if temperature == 1 or "pg" not in batch.weight:
        return None
    return torch.where(batch.weight["pg"] != 0, temperature, 1.0)
