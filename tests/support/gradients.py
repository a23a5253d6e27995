"""Loss and gradients of one step, for the law that neither depends on how the step was split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch.distributed.tensor import DTensor

from bloomery.core.rows import TokenRow
from bloomery.train.step import StepResult, train_step
from bloomery.train.trainer import Trainer

AGREE = 1e-6
"""The law of docs and code alike, in fp32: of the loss, and of a gradient against the norm of the whole one."""


def gradients_of(trainer: Trainer, rows: Sequence[TokenRow]) -> tuple[StepResult, dict[str, torch.Tensor]]:
    """One step's result and the gradients that the optimiser was given, unclipped and whole on every rank."""
    found: dict[str, torch.Tensor] = {}

    def look(*_: object) -> None:
        for name, parameter in trainer.masters.parameters.items():
            grad = parameter.grad
            assert grad is not None, name
            found[name] = (grad.full_tensor() if isinstance(grad, DTensor) else grad).detach().clone()

    trainer.optimiser.register_step_pre_hook(look)
    config = replace(trainer.config, optim=replace(trainer.config.optim, clip=1e9))
    result = train_step(trainer.module, trainer.masters, trainer.optimiser, rows, 1e-2, config, trainer.world)
    return result, found


def furthest(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The norm of the difference of two gradients over the norm of the first."""
    assert one.keys() == other.keys()
    apart = sum(float((one[name] - other[name]).double().square().sum()) for name in one)
    whole = sum(float(one[name].double().square().sum()) for name in one)
    return float((apart / whole) ** 0.5)
