"""Rotary embeddings that turn by the length of what they are given, made to look at one document at a time.

With `dynamic` and `longrope` scaling the frequencies follow the longest position of the whole input: beside a document
beyond the original context, a short one would be turned otherwise than alone. In a packed row a document begins where
the position is 0, so there the input is cut; rows of a batch are taken one by one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

KINDS = ("dynamic", "longrope")


def follows_length(module: nn.Module) -> bool:
    """Whether `module` or one inside it is a rotary embedding whose frequencies depend on the longest position."""
    return any(_kinds(part) for part in module.modules())


def turn_by_document(model: nn.Module) -> None:
    """Make such embeddings give every document what it gets alone, in place; other modules are left as they are."""
    for module in model.modules():
        if _kinds(module):
            cls: Any = type(module)
            module.__class__ = _by_document(cls)


def row_positions(attention_mask: Tensor) -> Tensor:
    """Positions [B, T] of rows padded on the right, none beyond the row's own length."""
    return (attention_mask.cumsum(1) - 1).clamp(min=0)


def _kinds(module: nn.Module) -> bool:
    told = getattr(module, "rope_type", None)
    return any(kind in str(one) for one in (told.values() if isinstance(told, dict) else [told]) for kind in KINDS)


@lru_cache(maxsize=64)
def _by_document(cls: Any) -> type:
    def forward(self: Any, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Any:
        named = {} if layer_type is None else {"layer_type": layer_type}
        if position_ids.dim() != 2 or int(position_ids.max()) + 1 < _original(self, layer_type):
            return cls.forward(self, x, position_ids, **named)

        def alone(document: Tensor) -> Any:
            # `dynamic` remembers the longest input so far until a short one comes: what was read before must not count
            cls.forward(self, x, document.new_zeros(1, 1), **named)
            return cls.forward(self, x, document, **named)

        rows = [_join([alone(document) for document in _documents(row)], 1) for row in position_ids.split(1)]
        return _join(rows, 0)

    return type(cls.__name__, (cls,), {"forward": torch.no_grad()(forward), "__module__": cls.__module__})


def _original(rotary: Any, layer_type: str | None) -> int:
    """Tokens up to which nothing is scaled."""
    told = rotary.config.rope_parameters
    told = told if layer_type is None else told[layer_type]
    stated = (getattr(rotary, "original_max_seq_len", 0), told.get("original_max_position_embeddings", 0))
    return min(filter(None, stated), default=0)


def _documents(row: Tensor) -> tuple[Tensor, ...]:
    """[1, T] cut before every position 0."""
    starts = {0, *(row[0] == 0).nonzero().flatten().tolist()}
    edges = torch.tensor([*sorted(starts), row.shape[1]])
    documents: tuple[Tensor, ...] = row.split(edges.diff().tolist(), 1)
    return documents


def _join(parts: list[Any], axis: int) -> Any:
    """Tensors, or tuples of them (cos and sin), end to end along `axis`."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts, axis)
    return tuple(torch.cat(part, axis) for part in zip(*parts, strict=True))
