"""Learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from bloomery.train.config import Schedule

# What is left of the way from the held rate to the final one, by the fraction x of the decay passed.
# 1-sqrt: Hägele et al., arXiv 2405.18392, who find it at or below linear for cool-downs.
DECAY: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "1-sqrt": lambda x: 1 - math.sqrt(x),
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
}

# kind -> (share of the run that decays after warm-up, None meaning all of it; shape, None meaning the schedule's own)
_KINDS: dict[str, tuple[float | None, str | None]] = {
    "constant": (0.0, "linear"),
    "linear": (None, "linear"),
    "cosine": (None, "cosine"),
    "wsd": (-1.0, None),
}


MERGED = 8
"""Weights that a merged anneal averages: how long it lasts matters more than how many (arXiv 2507.17634)."""


def merged_steps(schedule: Schedule) -> tuple[int, ...]:
    """Numbers of steps done after which the weights enter the mean, the last one at the end; () without a merge."""
    if schedule.anneal_by != "merge":
        return ()
    span = min(schedule.steps, max(1, round(schedule.anneal * schedule.steps)))
    count = min(MERGED, span)
    return tuple(schedule.steps - span + round(k * span / count) for k in range(1, count + 1))


def lr_at(step: int, schedule: Schedule) -> float:
    """Learning rate of optimiser step `step` (from 0) of a run of `schedule.steps`.

    Warm-up rises linearly from `start` and reaches `lr` on its last step; the decay ends at `final`
    on the step after the last, so the last step still learns.
    """
    warmup = round(schedule.warmup * schedule.steps)
    if step < warmup:
        return schedule.start + (schedule.lr - schedule.start) * (step + 1) / warmup
    share, shape = _KINDS[schedule.kind]
    decaying = schedule.steps - warmup if share is None else round(abs(share) * schedule.anneal * schedule.steps)
    decaying = 0 if schedule.anneal_by == "merge" else decaying
    begin = schedule.steps - decaying
    if step < begin or decaying == 0:
        return schedule.lr
    left = DECAY[shape or schedule.shape](min(1.0, (step - begin) / decaying))
    return schedule.final + (schedule.lr - schedule.final) * left
