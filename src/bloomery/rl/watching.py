"""Held-out tasks, attempted every few steps and never trained on: how often the policy is right on unseen ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bloomery.rl.loop import Collector, Groups
from bloomery.rl.over import Over
from bloomery.rl.rollouts import Rollout, Task

AGAIN = 97
"""In place of a round of a step: held-out answers have seeds of their own."""


@dataclass(frozen=True, slots=True)
class Watching(Over):
    """Collects by `inner`, and at every `every`th step by `plain` what the policy does with `held`, once each.

    `top` is the reward from which an answer is right, None where nothing tells it.
    """

    plain: Collector
    held: Sequence[Task]
    every: int
    top: float | None

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[Groups, dict[str, float]]:
        """The rollouts of `inner`; figures also of the held-out tasks, and the seconds that these took."""
        found, spent = self.inner.collect(tasks, step)
        if step % self.every:
            return found, spent
        groups, took = self.plain.collect(self.held, step)
        seconds = sum(value for name, value in took.items() if name.endswith("_s"))
        return found, spent | held_figures(groups, self.top) | {"held_s": seconds}


def held_figures(groups: Sequence[Sequence[Rollout]], top: float | None) -> dict[str, float]:
    """Mean reward; and where a right answer is known pass@1 and pass@k of the k answers that every task has."""
    scored = [[one.reward for one in group if one.reward is not None] for group in groups]
    flat = [reward for group in scored for reward in group]
    if not flat:
        return {}
    found = {"held_reward": float(np.mean(flat))}
    if top is None:
        return found
    k = min(len(group) for group in scored if group)
    right = [(len(group), sum(reward >= top - 1e-9 for reward in group)) for group in scored if group]
    most = [1 - math.comb(n - c, k) / math.comb(n, k) for n, c in right]
    once = [c / n for n, c in right]
    return found | {"held_pass_1": float(np.mean(once)), "held_pass_k": float(np.mean(most)), "held_k": float(k)}
