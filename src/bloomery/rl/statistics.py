"""What a step's rollouts tell, as figures for the log: one small function each.

Every figure is of one step; `alarms.py` looks at several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.rl.rollouts import TRAINED, Rollout

Groups = Sequence[Sequence[Rollout]]
Values = npt.NDArray[np.float64]


def rewards_of(groups: Groups) -> dict[str, float]:
    """Mean, spread and bounds of the rewards as they were given, and of the best of each group."""
    scored = _scored(groups)
    if not len(scored):
        return {}
    best = [max((one.reward for one in group if one.reward is not None), default=None) for group in groups]
    return {
        "reward": float(scored.mean()),
        "reward_std": float(scored.std()),
        "reward_low": float(scored.min()),
        "reward_high": float(scored.max()),
        "reward_best": float(np.mean([one for one in best if one is not None])),
    }


def counts(groups: Groups) -> dict[str, float]:
    """How many there are, were trained, could not be scored."""
    flat = [one for group in groups for one in group]
    return {
        "rollouts": float(len(flat)),
        "trained_rollouts": float(sum(one.why == TRAINED for one in flat)),
        "unscorable": float(len(flat) - len(_scored(groups))),
    }


def lengths(groups: Groups) -> dict[str, float]:
    """Sampled tokens and turns of a rollout, the share that was cut off, and what that took off the rewards."""
    flat = [one for group in groups for one in group]
    if not flat:
        return {}
    penalty = float(np.mean([one.penalty for one in flat]))
    return {
        "length": float(np.mean([one.tree.sampled_tokens for one in flat])),
        "turns": float(np.mean([len(one.tree.turns) for one in flat])),
        "cut_off": float(np.mean([not one.finished for one in flat])),
    } | ({"overlong_penalty": penalty} if penalty else {})


def length_correlation(groups: Groups) -> dict[str, float]:
    """Pearson's correlation of reward and length within groups, so that hard tasks with long answers do not make it."""
    pairs: list[Values] = []
    for group in groups:
        told = [(one.reward, one.tree.sampled_tokens) for one in group if one.reward is not None]
        if len(told) > 1:
            apart = np.array(told, np.float64)
            pairs.append(apart - apart.mean(0))
    if not pairs:
        return {}
    reward, length = np.concatenate(pairs).T
    size = float(np.sqrt((reward**2).sum() * (length**2).sum()))
    return {"length_correlation": float((reward * length).sum() / size)} if size > 1e-12 else {}


def components(groups: Groups) -> dict[str, float]:
    """By name of a reward's part: its mean (`reward/NAME`) and how far apart its values lie (`spread/NAME`)."""
    values: dict[str, list[float]] = {}
    for one in (one for group in groups for one in group):
        for name, value in (one.components or {}).items():
            values.setdefault(name, []).append(value)
    means = {f"reward/{name}": float(np.mean(values[name])) for name in sorted(values)}
    return means | {f"spread/{name}": max(values[name]) - min(values[name]) for name in sorted(values)}


FIGURES: dict[str, Callable[[Groups], dict[str, float]]] = {
    "counts": counts,
    "rewards": rewards_of,
    "lengths": lengths,
    "length_correlation": length_correlation,
    "components": components,
}
"""What is worked out of a step's groups."""


def statistics(groups: Groups) -> dict[str, float]:
    """All figures of a step."""
    return {name: value for figure in FIGURES.values() for name, value in figure(groups).items()}


def _scored(groups: Groups) -> npt.NDArray[Any]:
    return np.array([one.reward for group in groups for one in group if one.reward is not None], np.float64)


def staleness(groups: Groups, step: int) -> dict[str, float]:
    """Steps between the weights that sampled a rollout's first turn and those that it trains: mean and highest."""
    ages = [step - one.tree.turns[0].version for group in groups for one in group if one.tree.turns]
    return {"staleness": float(np.mean(ages)), "staleness_high": float(max(ages))} if ages else {}
