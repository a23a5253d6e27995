"""How far the policy has gone from its start, and what holds it back.

The start is asked what it says of the sampled tokens: the same weights with their adapters off, or a second model. From
that follow a meter, the KL(policy || start) in nats a token on what was sampled, and a part of the loss that pulls back
(`policy.k3`), with a coefficient of its own or where the meter is over its cap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bloomery.core.rows import Floats, TokenRow
from bloomery.rl.rollouts import Rollout, sampled_rows
from bloomery.train.batch import make_micro_batch, split_step
from bloomery.train.module import TrainModule
from bloomery.train.parallel import World

Say = Callable[[Sequence[TokenRow]], list[Floats]]
"""Rows of rollouts -> float32[T] each: the start's log-probability of every sampled token, 0 elsewhere."""


@dataclass(frozen=True, slots=True)
class Start:
    """The start, asked by the trainer's own forward, each process about its part of the rows. `within` is where
    `module` is the start (adapters off)."""

    module: TrainModule
    world: World
    micro_tokens: int
    temperature: float = 1.0
    within: Callable[[], AbstractContextManager[Any]] = nullcontext

    @torch.no_grad()
    def __call__(self, rows: Sequence[TokenRow]) -> list[Floats]:
        """What it says of the tokens that rows have weight on in `pg`, without dropout."""
        found = [np.zeros(len(row), np.float32) for row in rows]
        if not rows:
            return found
        was_training = self.module.training
        self.module.eval()
        with self.within():
            for chosen in split_step(rows, self.micro_tokens, self.world.size, self.module.packing)[self.world.rank]:
                batch = make_micro_batch([rows[i] for i in chosen], self.world.device, self.module.packing, rows[0])
                logp = self.module.score(batch, self.temperature)[0].float().cpu().numpy()
                begin = 0
                for i in chosen:  # positions lie in the batch in the order of its rows
                    at = np.flatnonzero(rows[i].weight["pg"])
                    found[i][at] = logp[begin : begin + len(at)]
                    begin += len(at)
        self.module.train(was_training)
        return self._of_all(found)

    def _of_all(self, found: list[Floats]) -> list[Floats]:
        """What all processes found; each row is asked about by one of them, and is 0 with the others."""
        if self.world.size == 1:
            return found
        whole = self.world.total(torch.from_numpy(np.concatenate(found)).to(self.world.device)).cpu().numpy()
        return np.split(whole, np.cumsum([len(one) for one in found])[:-1])


@dataclass(slots=True)
class Pull:
    """Measures every `every` steps (0: never) and pulls by `weight` of the KL (0: not).

    Over `cap`, rewards wait: rollouts are trained towards the start alone, with a weight of 1 at least, measured at
    every step, until the policy is under it again. Whether they wait is kept in the checkpoint.
    """

    start: Say
    weight: float = 0.0
    every: int = 0
    cap: float | None = None
    waits: bool = False

    @property
    def coefficient(self) -> dict[str, float]:
        """What the KL weighs in this step, where that is not what it weighs in the run."""
        return {"kl": max(1.0, self.weight)} if self.waits else {}

    def __call__(
        self, rows: Sequence[TokenRow], groups: Sequence[Sequence[Rollout]], step: int
    ) -> tuple[list[TokenRow], dict[str, float]]:
        """The step's rows as they are trained, and the figures `kl_start` (where measured) and `rewards_wait`."""
        figures: dict[str, float] = {}
        if self.waits or (self.every and step % self.every == 0):
            sampled = sampled_rows(groups)
            if sampled:
                figures["kl_start"] = divergence(sampled, self.start(sampled))
                self.waits = self.cap is not None and figures["kl_start"] > self.cap
            rows = rows or (sampled if self.waits else [])  # level groups can be pulled too
        if self.cap is not None:
            figures["rewards_wait"] = float(self.waits)
        if not (self.weight or self.waits):
            return [*rows], figures
        said = self.start(rows)
        return [_pulled(row, logp, self.waits) for row, logp in zip(rows, said, strict=True)], figures


def _pulled(row: TokenRow, logp: Floats, alone: bool) -> TokenRow:
    weight = {**row.weight, "kl": row.weight["pg"]}
    advantage = np.zeros(len(row), np.float32) if alone else row.advantage
    return replace(row, weight=weight, logp_ref=logp, advantage=advantage)


def divergence(rows: Sequence[TokenRow], start: Sequence[Floats]) -> float:
    """Mean over sampled tokens of the k3 estimate of KL(sampler || start), in nats; at least 0."""
    total, tokens = 0.0, 0
    for row, reference in zip(rows, start, strict=True):
        at = np.flatnonzero(row.weight["pg"])
        assert row.logp_sampled is not None
        apart = (reference[at] - row.logp_sampled[at]).astype(np.float64)
        total, tokens = total + float((np.expm1(apart) - apart).sum()), tokens + len(at)
    return total / max(tokens, 1)
