"""What the layers of a model keep of a token and how they attend, found by reading two tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bloomery.engine.ragged import NOBODY, Options, own_forward
from bloomery.models.attention import attention


class Recorder:
    """Stands for a step where the layers are asked what they are: notes it, and attends as training does."""

    def __init__(self, count: int) -> None:
        self.shapes: dict[int, tuple[int, int, int, torch.dtype]] = {}
        self.options: dict[int, Options] = {}
        self.count = count

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
        """q [t, G, D], k and v [t, K, D] -> [t, G, D]."""
        self.shapes[layer] = (k.shape[1], k.shape[2], v.shape[2], k.dtype)
        self.options[layer] = options
        query, key, value = (x.transpose(0, 1)[None] for x in (q, k, v))
        return attention(NOBODY, query, key, value, None, **options)[0][0]


@torch.inference_mode()
def recorded(model: nn.Module) -> Recorder:
    """What each layer keeps of a token and how it attends, found by reading two tokens."""
    recorder: Any = Recorder(2)
    device = next(model.parameters()).device
    own_forward(model)(torch.zeros(2, dtype=torch.long, device=device), torch.arange(2, device=device), [recorder])
    found: Recorder = recorder
    return found
