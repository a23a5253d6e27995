"""One optimiser step: split, forward and backward each micro-batch, check, clip, update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from bloomery.core.errors import TrainingError
from bloomery.core.rows import TokenRow
from bloomery.train.batch import denominators, make_micro_batch, read_tokens, split_step
from bloomery.train.config import TrainConfig
from bloomery.train.loss import SUMS, figures
from bloomery.train.module import TrainModule
from bloomery.train.optimiser import set_lr
from bloomery.train.parallel import World, sync_gradients
from bloomery.train.precision import Masters
from bloomery.train.preference import against_baseline


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did, over all ranks: tokens are non-padding ones, of which the model read `read_tokens` where rows
    of a group share their beginning; `parts` is the loss by part.

    `figures` are what preferences and rollouts tell besides (`loss.figures`).
    """

    loss: float
    parts: dict[str, float]
    grad_norm: float
    tokens: int
    read_tokens: int
    trained_tokens: int
    micro_batches: int
    figures: dict[str, float] = field(default_factory=dict)


def train_step(
    module: TrainModule,
    masters: Masters,
    optimiser: torch.optim.Optimizer,
    rows: Sequence[TokenRow],
    lr: float,
    config: TrainConfig,
    world: World,
) -> StepResult:
    """Train on `rows` once; a step without any, whose rollouts had nothing to teach, changes nothing.

    Raises `TrainingError` before the update if loss or gradient is not finite.
    """
    if not rows:
        return StepResult(0.0, {}, 0.0, 0, 0, 0, 0)
    rows = against_baseline(module, rows, config.micro_tokens, world)
    denominator = denominators(rows)
    mine = split_step(rows, config.micro_tokens, world.size, module.packing)[world.rank]
    totals = world.sum(forward_backward(module, rows, mine, denominator, config, world))
    parts = {name: total for name, total in totals.items() if name in denominator or name == "z"}
    loss = sum(config.optim.coefficient.get(p, 1.0) * v for p, v in parts.items() if p != "z")
    norm = clip(list(masters.parameters.values()), config.optim.clip)
    _refuse_non_finite(loss, norm, rows)
    set_lr(optimiser, lr)
    optimiser.step()
    masters.refresh()
    masters.zero_grad()
    trained = sum(max(map(row.trained, row.weight), default=0) for row in rows)
    tokens, read = sum(map(len, rows)), read_tokens(rows, module.packing)
    return StepResult(loss, parts, norm, tokens, read, trained, len(mine), figures(totals, denominator))


def forward_backward(
    module: TrainModule,
    rows: Sequence[TokenRow],
    micro_batches: list[list[int]],
    denominator: dict[str, float],
    config: TrainConfig,
    world: World,
) -> dict[str, float]:
    """Accumulate gradients over this rank's micro-batches; returns its share of each loss part, with their `SUMS`."""
    totals = {part: torch.zeros((), device=world.device) for part in _reported(denominator, config)}
    for index, chosen in enumerate(micro_batches):
        sync_gradients(module, last=index == len(micro_batches) - 1)
        batch = make_micro_batch([rows[i] for i in chosen], world.device, module.packing, rows[0])
        loss, shares = module(batch, denominator, config.optim)
        loss.backward()
        for part, share in shares.items():
            totals[part] += share
    return {part: float(total) for part, total in totals.items()}


def _reported(denominator: dict[str, float], config: TrainConfig) -> list[str]:
    z = ["z"] if config.optim.z_loss and "ce" in denominator else []
    return [*denominator, *z, *(name for part in SUMS if part in denominator for name in SUMS[part])]


def clip(parameters: Sequence[nn.Parameter], largest: float) -> float:
    """Scale gradients so that their global norm is at most `largest`; returns the norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    value = float(norm)
    if math.isfinite(value) and value > largest:
        torch._foreach_mul_(gradients, largest / (value + 1e-6))
    return value


def _refuse_non_finite(loss: float, norm: float, rows: Sequence[TokenRow]) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    named = ", ".join(f"{row.source}/{row.example_id}" for row in rows[:5])
    what = f"loss {loss}" if not math.isfinite(loss) else f"gradient norm {norm}"
    raise TrainingError(
        f"the {what} is not finite; weights were left as they were. Rows of the step: {named}"
        + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
    )
