"""Attention over packed documents on GPU: one kernel for all documents of a row, bounds as tensors.

Bounds given as Python ints would make torch.compile write new code for every new set of them; so on GPU they
travel as `DeviceBounds`, whose sizes repeat. Two kernels serve: flash attention with variable lengths for causality
and a window, flex attention for soft-caps and sinks, and for fp32.

The flex path is tested on CPU, where it runs as written; flash, and everything under torch.compile, has not been
run on a GPU yet: `tests/gpu` holds the tests.

Shapes: T tokens in the row, G query heads, K key heads, D head width, n documents.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10, or built without it
    varlen_attn = None  # type: ignore[assignment]

_VARLEN = frozenset() if varlen_attn is None else frozenset(inspect.signature(varlen_attn).parameters)
"""Argument names: torch 2.10 knows no scale and no window, 2.11 no grouped heads."""
WIDEST = 256
"""Largest head width of flash attention."""


class DeviceBounds(NamedTuple):
    """Where documents stand in a row, on the device of its tokens.

    `starts` int32[m + 1] are cumulative starts and T, m being n rounded up to a power of two by empty documents;
    `documents` int32[T] says which document a token is of; `longest` is a power of two that no document exceeds.
    """

    starts: Tensor
    documents: Tensor
    longest: int


def device_bounds(bounds: Sequence[int], device: torch.device) -> DeviceBounds:
    """`bounds` (cumulative starts as ints, T last) on a device, without waiting for it."""
    lengths = np.diff(bounds)
    empty = _power_of_two(len(lengths)) - len(lengths)
    starts = np.concatenate([bounds, np.full(empty, bounds[-1])]).astype(np.int32)
    documents = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return DeviceBounds(sent(starts, device), sent(documents, device), _power_of_two(int(lengths.max())))


def sent(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """An array as a tensor on `device`; to a GPU from pinned memory, so that the copy overlaps with computing."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: DeviceBounds,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Causal attention within documents: query [1, G, T, D], key and value [1, K, T, D] -> [1, T, G, D]."""
    if softcap is None and sinks is None and _flash_serves(query, value):
        return _flash(query, key, value, bounds, scale, window)
    return _flex(query, key, value, bounds, scale, window, softcap, sinks)


def _flash_serves(query: Tensor, value: Tensor) -> bool:
    """Whether this torch, dtype and width have a variable-length kernel."""
    width = query.shape[-1]
    shape = width % 8 == 0 and width <= WIDEST and value.shape[-1] == width
    kind = query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)
    return kind and shape and {"scale", "window_size"} <= _VARLEN


def _flash(query: Tensor, key: Tensor, value: Tensor, bounds: DeviceBounds, scale: float, window: int | None) -> Tensor:
    groups, grouped = query.shape[1] // key.shape[1], "enable_gqa" in _VARLEN
    if groups > 1 and not grouped:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    settings: dict[str, Any] = {"scale": scale, "window_size": (-1 if window is None else window - 1, 0)}
    if groups > 1 and grouped:
        settings["enable_gqa"] = True
    call: Any = varlen_attn
    out: Tensor = call(q, k, v, bounds.starts, bounds.starts, bounds.longest, bounds.longest, **settings)
    return out[None]


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: DeviceBounds,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention  # slow to import

    documents, length = bounds.documents, query.shape[2]

    def seen(_: Tensor, __: Tensor, q: Tensor, k: Tensor) -> Tensor:
        allowed = (documents[q] == documents[k]) & (q >= k)
        return allowed if window is None else allowed & (q - k < window)

    def capped(score: Tensor, _: Tensor, __: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return score if softcap is None else torch.tanh(score / softcap) * softcap

    blocks = create_block_mask(seen, None, None, length, length, device=query.device)
    settings: dict[str, Any] = {"block_mask": blocks, "scale": scale, "enable_gqa": query.shape[1] != key.shape[1]}
    out: Tensor
    out, aux = flex_attention(query, key, value, capped, return_aux=AuxRequest(lse=True), **settings)
    if sinks is not None:
        # a sink adds exp(sink) to the softmax's denominator and gives no value
        share = torch.sigmoid(aux.lse - sinks.float().view(1, -1, 1))
        out = (out.float() * share[..., None]).to(out.dtype)
    return out.transpose(1, 2).contiguous()


def _power_of_two(size: int) -> int:
    return 1 << max(0, size - 1).bit_length()
