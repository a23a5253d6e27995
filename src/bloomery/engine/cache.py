"""Keys and values of past tokens, in memory allocated once for a whole batch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
    """One layer's keys and values [B, heads, capacity, width], written in place.

    transformers' own growing layer copies everything it holds at every token; this one copies nothing
    until finished rows are taken out.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate room for `capacity` tokens, shaped after the first states."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty(*key_states.shape[:2], self.capacity, key_states.shape[3])
        self.values = value_states.new_empty(*value_states.shape[:2], self.capacity, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the states [B, heads, n, width] behind the present ones; return views of all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values, end = self.keys, self.values, self.length + key_states.shape[2]
        assert keys is not None and values is not None
        keys[:, :, self.length : end] = key_states
        values[:, :, self.length : end] = value_states
        self.length = end
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self) -> int:
        """Tokens held so far."""
        return self.length


def make_cache(config: Any, capacity: int) -> DynamicCache:
    """A cache for `capacity` tokens; layers that are not plain attention (windows, states) keep their own."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def keep_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Drop all rows of the batch but `rows` int64[kept]."""
    cache.reorder_cache(cast(torch.LongTensor, rows))
