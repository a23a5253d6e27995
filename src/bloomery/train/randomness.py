"""The random states that a resumed run takes up again."""

from __future__ import annotations

import torch


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """This process's states as `rng/cpu` and, on a GPU, `rng/cuda`; uint8."""
    states = {"rng/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng/cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, torch.Tensor]) -> None:
    """Put states read from a checkpoint back, by kind of device; what is missing stays as it is."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
