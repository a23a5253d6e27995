"""Attention over packed documents, registered with transformers under the name "bloomery".

A packed row is [1, L] tokens holding several documents end to end. Their bounds travel as the keyword
argument `bounds` of the model's forward: cumulative starts as Python ints, (0, len_0, len_0 + len_1, ..., L), or
`Pieces` where documents that begin alike have their beginning once; on GPU the first as `DeviceBounds`.
Documents never attend to each other. Soft-cap, sinks, sliding window and scaling arrive as keyword
arguments from the architecture's own code and are honoured:

    device   feature                     code
    CPU      causality, window           `tiles.py`
    CPU      dropout                     torch's kernels, document by document (`KERNELS`)
    CPU      soft-cap, sinks             written out, document by document (`KERNELS`)
    GPU      causality, window           flash attention of variable lengths (`varlen.py`); flex attention in fp32
    GPU      soft-cap, sinks             flex attention (`varlen.py`)
    GPU      dropout                     torch's kernels, document by document (`KERNELS`)
    any      a mask (padding, a cache)   torch's kernels

Shapes: B rows, T tokens, G query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bloomery.models.pieces import Pieces
from bloomery.models.tiles import tiled_attention
from bloomery.models.varlen import DeviceBounds, varlen_attention

NAME = "bloomery"


@dataclass(frozen=True, slots=True)
class Features:
    """What one call must honour besides causality; None where the architecture has no such thing."""

    scaling: float | None
    dropout: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None

    def kernel(self, length: int) -> str:
        """Name of the cheapest kernel that is exact for documents of `length` tokens."""
        if self.softcap is not None or self.sinks is not None:
            return "explicit"
        return "plain" if self.window is None or self.window >= length else "window"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    bounds: Sequence[int] | Pieces | DeviceBounds | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within documents: query [B, G, T, D], key and value [B, K, T, D] -> [B, T, G, D].

    Without `bounds` each row is one document. With `attention_mask` (padding, or a cache longer than
    the query) the mask, which already holds causality and window, decides alone.
    """
    features = Features(scaling, dropout, sliding_window, softcap, s_aux)
    if attention_mask is not None:
        kernel = _explicit if features.kernel(1) == "explicit" else _masked
        return kernel(query, key, value, features, attention_mask).transpose(1, 2).contiguous(), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(bounds, DeviceBounds):
        if dropout == 0:
            return varlen_attention(query, key, value, bounds, scale, sliding_window, softcap, s_aux), None
        return _documents(query, key, value, features, torch.unique_consecutive(bounds.starts).tolist()), None
    if bounds is not None and _tileable(query, features):
        return tiled_attention(query, key, value, bounds, scale, sliding_window), None
    return _documents(query, key, value, features, (0, query.shape[2]) if bounds is None else bounds), None


def _tileable(query: Tensor, features: Features) -> bool:
    """Whether the CPU tiles serve: one row, nothing but causality and a window."""
    plain = features.softcap is None and features.sinks is None and features.dropout == 0
    return plain and query.device.type == "cpu" and query.shape[0] == 1


def _documents(query: Tensor, key: Tensor, value: Tensor, features: Features, bounds: Sequence[int] | Pieces) -> Tensor:
    """Attend document by document and join the results along T: -> [B, T, G, D]."""
    pieces = Pieces.of(bounds)
    lengths = [end - start for start, end in pieces.spans]
    # split, not slice: the backward of a slice allocates and adds a full-size zero tensor for each document
    parts = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), pieces.begins, strict=True)
    outs = []
    for q, k, v, (start, end) in parts:
        if end > start:
            k, v = (torch.cat([x[:, :, start:end], own], 2) for x, own in ((key, k), (value, v)))
            seen = band(k.shape[2], features.window, q.device)[end - start :]
            kernel = _explicit if features.kernel(1) == "explicit" else _masked
            outs.append(kernel(q, k, v, features, seen).transpose(1, 2))
        else:
            outs.append(KERNELS[features.kernel(q.shape[2])](q, k, v, features, None).transpose(1, 2))
    return outs[0].contiguous() if len(outs) == 1 else torch.cat(outs, 1)


def _plain(query: Tensor, key: Tensor, value: Tensor, features: Features, mask: Tensor | None) -> Tensor:
    """Whole-document causal attention: [B, G, T, D]."""
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        is_causal=True,
        scale=features.scaling,
        dropout_p=features.dropout,
        enable_gqa=_grouped(query, key),
    )


def _masked(query: Tensor, key: Tensor, value: Tensor, features: Features, mask: Tensor | None) -> Tensor:
    """Attention under a given mask, boolean or additive, [B or 1, 1, T, S]."""
    return F.scaled_dot_product_attention(
        query, key, value, mask, scale=features.scaling, dropout_p=features.dropout, enable_gqa=_grouped(query, key)
    )


def _window(query: Tensor, key: Tensor, value: Tensor, features: Features, mask: Tensor | None) -> Tensor:
    """Causal attention to the last `window` tokens, the query's own included."""
    return _masked(query, key, value, features, band(query.shape[2], features.window, query.device))


def _explicit(query: Tensor, key: Tensor, value: Tensor, features: Features, mask: Tensor | None) -> Tensor:
    """Scores written out, for what fused kernels cannot do: soft-cap (Gemma 2) and sinks (gpt-oss); softmax in fp32."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if features.scaling is None else features.scaling
    scores = (query @ key.transpose(2, 3)).float() * scale
    if features.softcap is not None:
        scores = torch.tanh(scores / features.softcap) * features.softcap
    seen = band(query.shape[2], features.window, query.device) if mask is None else mask
    scores = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen
    if features.sinks is not None:
        # a sink takes part in the softmax and gives no value: arXiv:2309.17453, learnt in gpt-oss
        sinks = features.sinks.float().view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        scores = torch.cat([scores, sinks], -1)
    shares = scores.softmax(-1)
    if features.sinks is not None:
        shares = shares[..., :-1]
    return F.dropout(shares.to(value.dtype), features.dropout) @ value


def _grouped(query: Tensor, key: Tensor) -> bool:
    return query.shape[1] != key.shape[1]


@lru_cache(maxsize=64)
def band(length: int, window: int | None, device: torch.device) -> Tensor:
    """bool[length, length]: True where query i may see key j, that is i - window < j <= i."""
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril_()
    return seen if window is None else seen.triu_(1 - window)


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor, Features, Tensor | None], Tensor]] = {
    "plain": _plain,
    "window": _window,
    "explicit": _explicit,
}


def mask(*, q_length: int, kv_length: int, attention_mask: Tensor | None = None, **others: Any) -> Tensor | None:
    """The mask transformers asks for: none for packed or plain rows, a boolean one for padding and caches."""
    if attention_mask is None and q_length == kv_length:
        return None
    others["allow_is_causal_skip"] = False
    made: Tensor | None = sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **others)
    return made


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, mask)
