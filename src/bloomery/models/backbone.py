"""The decoder without its head: token ids in, final hidden states out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bloomery.models.pieces import Pieces
from bloomery.models.rotary import follows_length, row_positions
from bloomery.models.varlen import device_bounds


def bounds_of(lengths: Sequence[int]) -> tuple[int, ...]:
    """Cumulative starts of documents laid end to end: lengths (3, 2) give (0, 3, 5)."""
    return (0, *accumulate(lengths))


def positions_of(bounds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Position of every token within its own document: int64[1, L]."""
    return torch.cat([torch.arange(b - a, device=device) for a, b in pairwise(bounds)])[None]


def hidden_states(model: nn.Module, input_ids: Tensor, position_ids: Tensor, bounds: Sequence[int] | Pieces) -> Tensor:
    """Packed row [1, L] -> final hidden states [1, L, H], which the head maps to logits. `Pieces` are for CPU."""
    device = input_ids.device
    if isinstance(bounds, Pieces):
        return _decode(model, input_ids, position_ids=position_ids, bounds=bounds)
    carried = device_bounds(bounds, device) if device.type == "cuda" else tuple(bounds)
    return _decode(model, input_ids, position_ids=position_ids, bounds=carried)


def padded_hidden_states(model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Rows [B, T] padded on the right, mask 1 at real tokens -> [B, T, H]; what stands at padding means nothing."""
    turned = {"position_ids": row_positions(attention_mask)} if follows_length(model) else {}
    return _decode(model, input_ids, attention_mask=attention_mask, **turned)


def _decode(model: nn.Module, input_ids: Tensor, **arguments: Any) -> Tensor:
    decoder: Any = model.get_decoder()  # type: ignore[operator]
    hidden: Tensor = decoder(input_ids=input_ids, use_cache=False, **arguments)[0]
    return hidden
