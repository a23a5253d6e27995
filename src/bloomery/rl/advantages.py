"""Advantages: from the rewards of a step's groups to how much better than expected each rollout was.

A rollout without a score (NaN) takes part in no baseline and is not trained: its group is as if it had not been there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError, nearest

Array = npt.NDArray[np.float64]

EPSILON = 1e-4
"""Added to a standard deviation before dividing by it, as TRL does."""


@dataclass(frozen=True, slots=True)
class Running:
    """The exponential mean of rewards, step by step; `value` is None before the first. Kept in a checkpoint."""

    value: float | None = None
    decay: float = 0.9

    def after(self, rewards: Array) -> Running:
        """The same with one more step's rewards, float64[n], n > 0, all scored."""
        now = float(rewards.mean())
        return replace(self, value=now if self.value is None else self.decay * self.value + (1 - self.decay) * now)


Advantage = Callable[[Sequence[Array], Running], list[Array]]


def is_level(rewards: Array) -> bool:
    """Whether all are the same but for rounding."""
    return bool(np.allclose(rewards, rewards[0], rtol=1e-12, atol=1e-12))


def centred(rewards: Array) -> Array:
    """Less their mean; exactly 0 where all are the same."""
    return np.zeros(len(rewards)) if is_level(rewards) else rewards - rewards.mean()


def mean(groups: Sequence[Array], running: Running) -> list[Array]:
    """Less the group's mean, not divided by its deviation: Dr. GRPO, Liu et al., arXiv 2503.20783."""
    return [centred(rewards) for rewards in groups]


def std(groups: Sequence[Array], running: Running) -> list[Array]:
    """And divided by the group's deviation (unbiased): GRPO, Shao et al., arXiv 2402.03300."""
    return [centred(rewards) / (rewards.std(ddof=1) + EPSILON) for rewards in groups]


def leave_one_out(groups: Sequence[Array], running: Running) -> list[Array]:
    """Less the mean of the others: RLOO, Ahmadian et al., arXiv 2402.14740."""
    return [centred(rewards) * (len(rewards) / (len(rewards) - 1)) for rewards in groups]


def batch_std(groups: Sequence[Array], running: Running) -> list[Array]:
    """Less the group's mean, divided by the deviation of all that is left in the step: REINFORCE++ with baseline, Hu et
    al., arXiv 2501.03262. TRL's `scale_rewards="batch"` divides by the deviation of the rewards instead."""
    found = mean(groups, running)
    deviation = np.concatenate(found).std() + EPSILON
    return [values / deviation for values in found]


def from_running(groups: Sequence[Array], running: Running) -> list[Array]:
    """Less the mean of earlier steps, at the first step that of its own: for rollouts without siblings."""
    before = float(np.concatenate(groups).mean()) if running.value is None else running.value
    return [rewards - before for rewards in groups]


ADVANTAGES: dict[str, Advantage] = {
    "mean": mean,
    "std": std,
    "leave_one_out": leave_one_out,
    "batch_std": batch_std,
    "running": from_running,
}
"""Name -> advantages of the rewards of each group, both float64[g], all scored."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a step's rewards came to, by group in the order given.

    `advantage` is float64[G], 0 where a rollout is not to be trained; `trained` bool[G] says where it is. `dropped`
    counts groups with too few scores, `level` those whose scores are all the same, so that there is nothing to learn,
    `unscored` rollouts. `running` is for the next step.
    """

    advantage: list[Array]
    trained: list[npt.NDArray[np.bool_]]
    dropped: int
    level: int
    unscored: int
    running: Running


def fewest(size: int, kind: str = "mean") -> int:
    """How many of a group's rollouts must be scored for it to be trained on; with `running`, any one."""
    return 1 if kind == "running" else max(2, math.ceil(0.75 * size))


def judge(groups: Sequence[Array], kind: str = "mean", running: Running | None = None) -> Judged:
    """Advantages of a step, of the rewards of each group, float64[G], where what is not finite has no score.

    Raises `InputError` for a kind that is not in `ADVANTAGES`.
    """
    if kind not in ADVANTAGES:
        raise InputError(f"`advantage: {kind}` is no way to compare rewards{nearest(kind, ADVANTAGES)}")
    running = running or Running()
    scored = [np.isfinite(rewards) for rewards in groups]
    kept = [there.sum() >= fewest(len(there), kind) for there in scored]
    trained = [there & keep for there, keep in zip(scored, kept, strict=True)]
    left = [rewards[there] for rewards, there, keep in zip(groups, trained, kept, strict=True) if keep]
    found = iter(ADVANTAGES[kind](left, running) if left else [])
    advantage = [np.zeros(len(rewards)) for rewards in groups]
    for values, there, keep in zip(advantage, trained, kept, strict=True):
        if keep:
            values[there] = next(found)
    return Judged(
        advantage,
        trained,
        dropped=len(groups) - len(left),
        level=0 if kind == "running" else sum(map(is_level, left)),
        unscored=sum(int((~there).sum()) for there in scored),
        running=running.after(np.concatenate(left)) if left else running,
    )


def overlong(length: int, longest: int, margin: int) -> float:
    """What is added to the reward of an answer of `length` tokens: 0 up to `longest - margin`, -1 from `longest` on,
    evenly less between (DAPO, Yu et al., arXiv 2503.14476, equation 13)."""
    if length <= longest - margin:
        return 0.0
    return -1.0 if length >= longest else (longest - margin - length) / margin
