"""Rollouts made up of their rewards and lengths alone, and a collector that gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bloomery.rl.rollouts import Rollout, Task
from bloomery.rl.turns import Tree, Turn


def task(name: str = "t", again: int = 0) -> Task:
    """A task of one message and two tokens."""
    row = {"id": name, "messages": [{"role": "user", "content": f"do {name}"}]}
    return Task("tasks", name, row, np.array([1, 2], np.int32), again)


def attempt(
    reward: float | None, length: int = 2, of: Task | None = None, number: int = 0, **fields: object
) -> Rollout:
    """A rollout of one answer of `length` tokens."""
    of = of or task()
    logp = np.full(length, -0.5, np.float32)
    reply = {"role": "assistant", "content": "word " * length}
    turn = Turn(0, None, "clean", (), "", (1, 2), tuple(range(3, 3 + length)), logp, 0, "stop", reply)
    return Rollout(of, number, Tree([turn]), reward=reward, **fields)  # type: ignore[arg-type]


@dataclass
class Told:
    """Gives each task the rewards that stand beside its name, or those of others."""

    rewards: dict[str, list[float | None]]
    others: list[float | None] = field(default_factory=lambda: [1.0, 1.0])
    asked: list[list[str]] = field(default_factory=list)

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[list[list[Rollout]], dict[str, float]]:
        self.asked.append([one.group for one in tasks])
        groups = [
            [attempt(reward, of=one, number=n) for n, reward in enumerate(self.rewards.get(one.group, self.others))]
            for one in tasks
        ]
        return groups, {"sampling_s": 1.0}

    def restart(self, step: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing to end."""
