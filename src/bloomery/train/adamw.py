"""AdamW whose moments rest in bf16: a third of the optimiser's memory saved, for a little precision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bloomery.core.errors import InputError

LARGEST_BETA2 = 0.99
"""Above it a step moves the second moment by less than bf16 can hold (half a unit in the last place is 0.2 %)."""


class Bf16StateAdamW(torch.optim.Optimizer):
    """Decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101); arithmetic in fp32, moments stored in bf16.

    Raises `InputError` for a beta2 whose decay would vanish in bf16.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        if betas[1] > LARGEST_BETA2:
            raise InputError(
                f"`memory.state: bf16` with `optim.betas: {list(betas)}`: steps of {1 - betas[1]:g} vanish in bf16",
                fix=f"use a second beta of at most {LARGEST_BETA2}, or `memory.state: fp32`",
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
        state["step"] += 1
        count, (beta1, beta2) = float(state["step"]), group["betas"]
        first = state["exp_avg"].float().lerp_(gradient, 1 - beta1)
        second = state["exp_avg_sq"].float().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        state["exp_avg"].copy_(first)
        state["exp_avg_sq"].copy_(second)
        scale = second.div_(1 - beta2**count).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(first, scale, value=-group["lr"] / (1 - beta1**count))
