"""Rollouts whose log-probabilities follow from plain arithmetic, so that two trainers can be given the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from bloomery.core.rows import TokenRow
from bloomery.train.batch import MicroBatch, denominators, make_micro_batch
from bloomery.train.config import Policy
from bloomery.train.policy import k3, policy_gradient, surrogate

NAN = math.nan
GROUP = 4
LONGEST = 12
"""What Dr. GRPO divides by."""

ANSWERS = [
    ([number // GROUP + 1, 50], [60 + (7 * number + 3 * k) % 40 for k in range(2 + 5 * number % 9)])
    for number in range(3 * GROUP)
]
"""(prompt, answer) as token ids; four answers of unequal lengths to each prompt."""

REWARDS = [1.0, 0.0, 0.25, 0.5, 0.0, 0.0, 1.0, NAN, 0.7, 0.7, 0.7, 0.7]
"""One answer has no score, one group is all the same."""

VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"rows": "grpo", "advantage": "mean"},
    "grpo std": {"rows": "grpo", "advantage": "std"},
    "bnpo": {"rows": "bnpo"},
    "dr_grpo": {"rows": "dr_grpo", "advantage": "mean"},
    "dapo": {"rows": "dapo", "told": {"clip_low": 0.1, "clip_high": 0.4}},
    "cispo": {"rows": "cispo", "told": {"loss": "cispo"}},
    "gspo": {"rows": "grpo", "told": {"level": "sequence", "clip_low": 0.075, "clip_high": 0.06}},
    "dapo kl": {"rows": "dapo", "kl": 0.3},
    "grpo kl": {"rows": "grpo", "kl": 0.3},
    "dapo corrected": {"rows": "dapo", "old": "before"},
    "cispo corrected": {"rows": "cispo", "old": "before", "told": {"loss": "cispo"}},
    "dapo current": {"rows": "dapo", "old": "now", "told": {"proximal": "current"}},
    "grpo current": {"rows": "grpo", "old": "now", "told": {"proximal": "current", "correct": 1.1}},
}
"""By name: TRL's way of averaging, the advantage (std where it is left out), settings that differ from `sampled` with
bounds of .2 and .28, the weight of KL, and what the ratio is to where that is not the sampler."""


def now(first: Any, token: Any) -> Any:
    """The policy's log-probability of a token in a conversation that begins with `first`."""
    return -((first * 7 + token * 5) % 23 + 1) / 16


def before(first: Any, token: Any) -> Any:
    """That of the policy before its last updates: between .6 and 1.7 of it."""
    return now(first, token) + ((first * 5 + token * 3) % 17 - 8) / 16


def sampler(first: Any, token: Any) -> Any:
    """That of the engine which sampled."""
    return before(first, token) - ((first + token * 7) % 13 - 6) / 7


def start(first: Any, token: Any) -> Any:
    """The start's."""
    return now(first, token) + ((first * 3 + token * 11) % 19 - 9) / 12


def settings(name: str) -> Policy:
    """What a variant tells our loss."""
    return Policy(**{"proximal": "sampled", **VARIANTS[name].get("told", {})})


def rows_of(name: str, advantages: list[float]) -> list[TokenRow]:
    """The rows of one step; the averaging lies in weights and advantages as `train/policy.py` has it."""
    variant = VARIANTS[name]
    tokens = sum(len(answer) for _, answer in ANSWERS)
    scale = tokens / (len(ANSWERS) * LONGEST) if variant["rows"] == "dr_grpo" else 1.0
    rows = []
    for number, ((prompt, answer), advantage) in enumerate(zip(ANSWERS, advantages, strict=True)):
        weight = 1 / len(answer) if variant["rows"] == "grpo" else 1.0
        parts = {"pg": weight} | ({"kl": weight} if "kl" in variant else {})
        said = sampler if "old" in variant else before
        rows.append(
            TokenRow(
                np.array(prompt + answer, np.int32),
                {part: _on_answer(prompt, [value] * len(answer)) for part, value in parts.items()},
                f"{number}", "rollouts", f"{number // GROUP}", f"{number // GROUP}",
                advantage=_on_answer(prompt, [scale * advantage] * len(answer)),
                logp_sampled=_on_answer(prompt, [said(prompt[0], token) for token in answer]),
                logp_ref=_on_answer(prompt, [start(prompt[0], token) for token in answer]) if "kl" in variant else None,
            )
        )  # fmt: skip
    return rows


def _on_answer(prompt: list[int], values: list[float]) -> np.ndarray:
    return np.array([0.0] * len(prompt) + values, np.float32)


def by_answer(batch: MicroBatch, say: Any) -> torch.Tensor:
    """What `say` tells of each target, float32[n]."""
    first = torch.tensor([prompt[0] for prompt, _ in ANSWERS])[batch.row]
    return torch.as_tensor(say(first, batch.targets)).float()


def ours(name: str, advantages: list[float]) -> tuple[float, list[float], dict[str, float]]:
    """Our loss of a variant, its gradient by each answer token in turn, and the sums it tells."""
    rows, told, variant = rows_of(name, advantages), settings(name), VARIANTS[name]
    batch = make_micro_batch(rows, torch.device("cpu"), "packed", rows[0])
    logp = by_answer(batch, now).requires_grad_()
    if variant.get("old") == "before":
        extra = batch.extra["logp_sampled"], batch.extra["advantage"], batch.weight["pg"], batch.row
        loss, sums = surrogate(logp, by_answer(batch, before), *extra, told)
    else:
        loss, sums = policy_gradient(logp, batch, told)
    divided = denominators(rows)
    loss = loss / divided["pg"]
    if "kl" in variant:
        loss = loss + variant["kl"] * k3(logp, batch) / divided["kl"]
    loss.backward()
    assert logp.grad is not None
    answered = sum(len(answer) for _, answer in ANSWERS)
    return loss.item(), logp.grad[:answered].tolist(), {key: float(value) for key, value in sums.items()}
