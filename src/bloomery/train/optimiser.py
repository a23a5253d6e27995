"""AdamW over the masters, and its state as plain named tensors."""

from __future__ import annotations

import torch
from torch import nn

from bloomery.core.errors import DamagedError
from bloomery.train.adamw import Bf16StateAdamW
from bloomery.train.config import Optim

MOMENTS = ("exp_avg", "exp_avg_sq")


def build_optimiser(parameters: dict[str, nn.Parameter], optim: Optim) -> torch.optim.Optimizer:
    """AdamW, fused where its state is fp32; matrices outside embeddings decay, vectors and embeddings do not
    (OLMo 2, SmolLM3). Groups differ in `weight_decay`, and in `lr_scale`, their rate over the schedule's (LoRA+)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = optim.weight_decay if parameter.ndim >= 2 and "embed" not in name else 0.0
        scale = optim.lora_plus if ".lora_B." in name else 1.0
        groups.setdefault((decay, scale), []).append(parameter)
    used = [{"params": own, "weight_decay": decay, "lr_scale": scale} for (decay, scale), own in groups.items()]
    if optim.state_dtype == "bf16":
        return Bf16StateAdamW(used, 0.0, optim.betas, optim.eps)
    return torch.optim.AdamW(used, lr=0.0, betas=optim.betas, eps=optim.eps, fused=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The moments as `exp_avg/<name>` and `exp_avg_sq/<name>`; empty before the first step."""
    found = {}
    for name, parameter in parameters.items():
        state = optimiser.state.get(parameter, {})
        for moment in MOMENTS:
            if moment in state:
                found[f"{moment}/{name}"] = state[moment]
    return found


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: dict[str, nn.Parameter],
    tensors: dict[str, torch.Tensor],
    steps: int,
) -> None:
    """Put moments read from a checkpoint back; raises `DamagedError` when one is missing."""
    if steps == 0:
        return
    for name, parameter in parameters.items():
        try:
            moments = {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
        except KeyError as missing:
            raise DamagedError(f"the checkpoint holds no optimiser state {missing}") from None
        step = torch.tensor(float(steps), dtype=torch.float32, device=parameter.device)
        optimiser.state[parameter] = {"step": step, **moments}


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for every parameter group from now on."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
