"""Policy gradient: from log-probabilities of sampled tokens and their advantages to a loss for each token.

All are float32[n] at the batch's weighted positions; what has no weight in `pg` counts nowhere. How a step is averaged
lies in its rows' weights, since every part is divided by their sum over the step (`batch.denominators`):

    mean over tokens (DAPO, arXiv 2503.14476; BNPO)     weight 1
    mean over rows of their means (GRPO; GSPO)          weight 1 / tokens of the row that are trained
    over a constant length (Dr. GRPO, arXiv 2503.20783) weight 1, and advantages times the step's trained tokens over
                                                        (rows x longest allowed): losses are proportional to them

The losses equal those of TRL 1.16 (`bench/policy.py` compares them).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bloomery.train.batch import MicroBatch
from bloomery.train.config import Policy

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Policy], tuple[torch.Tensor, torch.Tensor]]

SUMS = ("policy_ratio", "policy_clipped", "policy_capped", "policy_drift", "policy_entropy", "policy_tokens")
"""What a micro-batch tells of its policy, summed over trained tokens; `figures` makes means of them."""


def clip(
    ratio: torch.Tensor, logp: torch.Tensor, advantage: torch.Tensor, told: Policy
) -> tuple[torch.Tensor, torch.Tensor]:
    """Schulman et al., arXiv 1707.06347, equation 7, with a bound of its own on each side (arXiv 2503.14476).

    Clipped is what has no gradient: a ratio that went beyond its bound to where its advantage drives it.
    """
    low, high = 1 - told.clip_low, 1 + told.clip_high
    losses = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
    return losses, torch.where(advantage > 0, ratio > high, (ratio < low) & (advantage < 0))


def cispo(
    ratio: torch.Tensor, logp: torch.Tensor, advantage: torch.Tensor, told: Policy
) -> tuple[torch.Tensor, torch.Tensor]:
    """MiniMax-M1, arXiv 2506.13585, section 3.1, without a lower bound, as its authors ran it.

    Clipped is what is weighted less than its ratio; it keeps its gradient.
    """
    high = 1 + told.clip_high
    return -ratio.detach().clamp(max=high) * advantage * logp, ratio > high


LOSSES: dict[str, Loss] = {"clip": clip, "cispo": cispo}
"""Name -> loss of each token, float32[n], and which are clipped, bool[n], of (ratio, logp, advantage, settings)."""


def policy_gradient(
    logp: torch.Tensor, batch: MicroBatch, told: Policy
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum of the micro-batch's losses, and its `SUMS`, detached; `logp` float32[n]."""
    sampled = batch.extra["logp_sampled"]
    old = sampled if told.proximal == "sampled" else logp.detach()
    return surrogate(logp, old, sampled, batch.extra["advantage"], batch.weight["pg"], batch.row, told)


def surrogate(
    logp: torch.Tensor,
    old: torch.Tensor,
    sampled: torch.Tensor,
    advantage: torch.Tensor,
    weight: torch.Tensor,
    row: torch.Tensor,
    told: Policy,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """`policy_gradient` where the policy compared with (`old`) need be neither the step's nor the sampler's.

    From `sampled` to `old` tokens are weighted by truncated importance sampling (Espeholt et al., arXiv 1802.01561,
    rho), from `old` to `logp` the ratio leads (decoupled: Hilton et al., arXiv 2110.00641).
    """
    there = weight != 0
    moved = (logp - old).where(there, 0.0)
    if told.level == "sequence":
        moved = _row_means(moved.detach(), there, row) + (moved - moved.detach())
    losses, clipped = LOSSES[told.loss](moved.exp(), logp, advantage, told)
    correction = (old - sampled).where(there, 0.0).detach().exp()
    limit = told.correct or torch.inf
    capped = correction > limit
    correction = correction.clamp(max=limit) if told.correct else torch.ones_like(correction)
    with torch.no_grad():
        drift = (sampled - logp).where(there, 0.0)
        each = ((-drift).exp(), clipped, capped, drift, -sampled, there)
        sums = {name: value.where(there, 0).float().sum() for name, value in zip(SUMS, each, strict=True)}
    return (weight * correction * losses).sum(), sums


def _row_means(value: torch.Tensor, there: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """At each position the mean of its row, float32[n]: with the position's own gradient this is GSPO-token (Zheng et
    al., arXiv 2507.18071, section 4.3), which is GSPO where a row has one advantage, and knows turns where it has more.
    """
    empty = torch.zeros(int(row.max()) + 1 if len(row) else 0, device=value.device)
    return (empty.index_add(0, row, value) / empty.index_add(0, row, there.float()).clamp(min=1))[row]


def k3(logp: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """Weighted sum of estimates of KL(policy || start), each at least 0 (Schulman 2020, http://joschu.net/blog/kl-approx.html).

    For tokens that the policy sampled: rows with `kl` beside `pg`. Rows with `kl` alone are measured before the step
    and do not come here (`preference.against_baseline`).
    """
    weight = batch.weight["kl"]
    apart = (batch.extra["logp_ref"] - logp).where(weight != 0, 0.0)
    return (weight * (apart.exp() - apart - 1)).sum()


def figures(sums: dict[str, float]) -> dict[str, float]:
    """Means over a step's trained tokens: policy over sampler (1 in expectation), shares clipped and capped, and
    estimates in nats of KL(sampler || policy) and of the sampler's entropy."""
    tokens = max(sums["policy_tokens"], 1.0)
    return {name: sums[name] / tokens for name in SUMS if name != "policy_tokens"}
