"""Mixed precision, one mechanism: the module computes in bf16, the optimiser owns fp32 masters.

FSDP2 does the same for sharded runs (`MixedPrecisionPolicy(param_dtype=bf16, reduce_dtype=fp32)` over
fp32 shards); here it is for one process. The masters' gradients are summed in fp32 over micro-batches,
and the bf16 copies are refreshed after each optimiser step. Unlike autocast, nothing is cast twice and the
residual stream is bf16, which halves the traffic of everything between the matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def native_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are native on `device`, so that they are faster than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and "bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return ""


class Masters:
    """fp32 masters of a module's trainable parameters, by name.

    `parameters` is what the optimiser steps and what checkpoints hold. In fp32, or where the module is
    sharded by FSDP2, they are the module's own parameters; in bf16 they are copies with their own gradients.
    """

    def __init__(self, module: nn.Module, bf16: bool) -> None:
        own = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._compute: list[nn.Parameter] = []
        self.parameters: dict[str, nn.Parameter] = own
        if bf16:
            self.parameters = {name: nn.Parameter(p.detach().float().clone()) for name, p in own.items()}
            to_bf16(module)
            self._compute = [p for p in module.parameters() if p.requires_grad]
            for compute, master in zip(self._compute, self.parameters.values(), strict=True):
                compute.register_post_accumulate_grad_hook(_moving_grad_to(master))

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters into the module, after an optimiser step or a restore."""
        if self._compute:
            torch._foreach_copy_(list[torch.Tensor](self._compute), list(self.parameters.values()))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None


def to_bf16(module: nn.Module) -> None:
    """Parameters in bf16, in place; buffers keep their precision."""
    for parameter in module.parameters():
        if not parameter.is_floating_point():  # weights in 4 bits stay as they are
            continue
        parameter.data = parameter.data.to(torch.bfloat16)


def _moving_grad_to(master: nn.Parameter) -> Callable[[torch.Tensor], None]:
    def move(compute: torch.Tensor) -> None:
        assert compute.grad is not None
        if master.grad is None:
            master.grad = compute.grad.float()
        else:
            master.grad.add_(compute.grad)
        compute.grad = None

    return move
