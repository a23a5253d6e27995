"""Preferences: from log-probabilities of answers to a loss for each pair, or for each judged answer.

`chosen` and `rejected` are float32[g], for each group the sum of weight x (log-probability - the start's) over the
answer; an answer that a group does not have is 0 there, and `desired` bool[g] says where there is a chosen one. Weights
are 1, or 1 / length where an objective takes means.
The losses equal those of TRL 1.16 (`bench/preference.py` compares them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from bloomery.core.rows import TokenRow
from bloomery.train.batch import MicroBatch, make_micro_batch, split_step
from bloomery.train.config import Preference

if TYPE_CHECKING:
    from bloomery.train.module import TrainModule
    from bloomery.train.parallel import World

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Preference], torch.Tensor]

SUMS = ("reward_right", "reward_chosen", "reward_rejected", "chosen_rows", "rejected_rows")
"""What a micro-batch tells of its preferences, summed over the step; `figures` makes means of them."""


def dpo(chosen: torch.Tensor, rejected: torch.Tensor, desired: torch.Tensor, told: Preference) -> torch.Tensor:
    """Rafailov et al., arXiv 2305.18290, equation 7; with label smoothing Chowdhury et al., arXiv 2403.00409."""
    margin, flipped = told.beta * (chosen - rejected), told.label_smoothing
    return (flipped * logsigmoid(-margin) - (1 - flipped) * logsigmoid(margin)) / (1 - 2 * flipped)


def ipo(chosen: torch.Tensor, rejected: torch.Tensor, desired: torch.Tensor, told: Preference) -> torch.Tensor:
    """Azar et al., arXiv 2310.12036, equation 17, on means over tokens, as its authors ran it."""
    return (chosen - rejected - 1 / (2 * told.beta)).square()


def kto(chosen: torch.Tensor, rejected: torch.Tensor, desired: torch.Tensor, told: Preference) -> torch.Tensor:
    """Ethayarajh et al., arXiv 2402.01306, equation 7, less what does not depend on the model.

    One answer a group. The baseline is in the reference already: see `against_baseline`.
    """
    weight = torch.where(desired, told.desirable_weight, told.undesirable_weight)
    return weight * torch.sigmoid(-told.beta * (chosen - rejected))


def orpo(chosen: torch.Tensor, rejected: torch.Tensor, desired: torch.Tensor, told: Preference) -> torch.Tensor:
    """Hong et al., arXiv 2403.07691, equations 6 and 7, but for cross-entropy, which is a part of its own."""
    odds = chosen - rejected - (_log1mexp(chosen) - _log1mexp(rejected))
    return -told.beta * logsigmoid(odds)


LOSSES: dict[str, Loss] = {"dpo": dpo, "ipo": ipo, "kto": kto, "orpo": orpo}
"""Objective -> loss of each group, float32[g]."""


def preference(logp: torch.Tensor, batch: MicroBatch, told: Preference) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum of the micro-batch's losses, and its `SUMS`, detached; `logp` float32[n]."""
    weight, group = batch.weight["pref"], batch.group
    reward = (logp - batch.extra["logp_ref"] if "logp_ref" in batch.extra else logp) * weight
    chosen, rejected, has_chosen, has_rejected = (
        torch.zeros(batch.rows, device=logp.device).index_add(0, group, side)
        for side in (
            reward.where(weight > 0, 0.0), -reward.where(weight < 0, 0.0), (weight > 0).float(), (weight < 0).float()
        )
    )  # fmt: skip
    there = (has_chosen + has_rejected) > 0
    chosen, rejected, desired, left = chosen[there], rejected[there], has_chosen[there] > 0, has_rejected[there] > 0
    losses = LOSSES[told.objective](chosen, rejected, desired, told)
    with torch.no_grad():
        sums = (
            (chosen > rejected).float().sum(), told.beta * chosen.sum(), told.beta * rejected.sum(),
            desired.float().sum(), left.float().sum(),
        )  # fmt: skip
    return losses.sum(), dict(zip(SUMS, sums, strict=True))


def figures(sums: dict[str, float], groups: float) -> dict[str, float]:
    """Means over a step of `groups`: how many are ranked rightly, rewards (beta x log-ratio) and their distance."""
    found = {"reward_accuracy": sums["reward_right"] / max(groups, 1.0)}
    for side in ("chosen", "rejected"):
        if sums[f"{side}_rows"]:
            found[f"reward_{side}"] = sums[f"reward_{side}"] / sums[f"{side}_rows"]
    if "reward_chosen" in found and "reward_rejected" in found:
        found["reward_margin"] = found["reward_chosen"] - found["reward_rejected"]
    return found


@torch.no_grad()
def against_baseline(
    module: TrainModule, rows: Sequence[TokenRow], micro_tokens: int, world: World
) -> Sequence[TokenRow]:
    """The rows that are trained, their reference raised by KTO's baseline where the step has rows to measure it on.

    The baseline is an answer's log-ratio where nothing is to be gained: the mean over the step's rows that pair a
    prompt with the answer to another, at least 0 (arXiv 2402.01306, section 3.2). Without gradient.
    """
    measured = [row for row in rows if set(row.weight) == {"kl"}]
    if not measured:
        return rows
    total, was_training = 0.0, module.training
    module.eval()
    for chosen in split_step(measured, micro_tokens, world.size, module.packing)[world.rank]:
        batch = make_micro_batch([measured[i] for i in chosen], world.device, module.packing, measured[0])
        logp, _ = module.score(batch)
        if "kl" in batch.weight:
            total += float(((logp - batch.extra["logp_ref"]).double() * batch.weight["kl"]).sum())
    module.train(was_training)
    baseline = max(0.0, world.sum({"kl": total})["kl"] / len(measured))
    return [_raised(row, baseline) for row in rows if set(row.weight) != {"kl"}]


def _raised(row: TokenRow, baseline: float) -> TokenRow:
    if row.logp_ref is None or "pref" not in row.weight:
        return row
    each = np.where(row.weight["pref"] != 0, np.float32(baseline / row.trained("pref")), np.float32(0))
    return replace(row, logp_ref=row.logp_ref + each)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0; two forms, each exact on its side of -log 2 (Maechler 2012)."""
    near = x > -0.6931471805599453
    far = torch.log1p(-torch.exp(x.where(~near, -1.0)))
    return torch.where(near, torch.log(-torch.expm1(x.where(near, -0.5))), far)
