"""One forward over tokens of many requests: one token of each that answers, stretches of prompts of those that begin.

The tokens stand end to end in one row, so that linear layers see one large product and no padding. Attention is the
only place where requests are told apart: registered with transformers, it is given the step's `parts` as the keyword
argument `ragged`, writes new keys and values into the requests' rows (`slots.py`) and reads the older ones there.

Shapes: T tokens of the step, n rows of a part, L tokens read, G query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from bloomery.engine.slots import Slab, Slot
from bloomery.models.attention import attention, mask

NAME = "bloomery-ragged"


@dataclass(slots=True)
class Decode:
    """One new token for each of the first n rows of a slab."""

    slab: Slab
    lengths: Tensor
    """int64[n]: tokens in each row before this one."""
    longest: int
    even: bool
    """Whether all rows have `longest` tokens, the new one included."""
    rows: Tensor
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Tokens of the step that are of this part."""
        return len(self.lengths)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """q [n, G, D], k and v [n, K, D] -> [n, G, D]."""
        keys, values = self.slab.layers[layer]
        if self.even:
            keys[: self.count, :, :, self.longest - 1] = k
            values[: self.count, :, self.longest - 1] = v
        else:
            keys[self.rows, :, :, self.lengths] = k.to(keys.dtype)
            values[self.rows, :, self.lengths] = v.to(values.dtype)
        keys, values = keys[: self.count, :, :, : self.longest], values[: self.count, :, : self.longest]
        window = options["sliding_window"]
        whole = self.even and (window is None or window >= self.longest)
        seen = None if whole else self._seen(window)
        if options["softcap"] is not None or options["s_aux"] is not None:
            seen = self._seen(window) if seen is None else seen
            return attention(nn.Module(), q[:, :, None], keys.transpose(2, 3), values, seen, **options)[0][:, 0]
        return _decode(q, keys, values, options["scaling"], seen)

    def _seen(self, window: int | None) -> Tensor:
        """bool[n, 1, 1, L]: which tokens each row may see; once for all layers of a step."""
        if window not in self.masks:
            at, last = torch.arange(self.longest, device=self.lengths.device)[None], self.lengths[:, None]
            seen = at <= last if window is None else (at <= last) & (at > last - window)
            self.masks[window] = seen[:, None, None]
        return self.masks[window]


def _decode(q: Tensor, keys: Tensor, values: Tensor, scale: float | None, seen: Tensor | None) -> Tensor:
    """q [n, G, D], keys [n, K, D, L], values [n, K, L, D] -> [n, G, D]; query heads of one key head go together."""
    n, groups, width = q.shape
    heads = keys.shape[1]
    scores = q.view(n, heads, groups // heads, width) * (width**-0.5 if scale is None else scale) @ keys
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return (scores.float().softmax(-1).to(values.dtype) @ values).reshape(n, groups, values.shape[-1])


@dataclass(slots=True)
class Prefill:
    """The next `count` tokens of one request's prompt."""

    slot: Slot
    start: int
    count: int

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """q [t, G, D], k and v [t, K, D] -> [t, G, D]."""
        all_keys, all_values = self.slot.slab.layers[layer]
        row, end = self.slot.row, self.start + self.count
        all_keys[row, :, :, self.start : end] = k.permute(1, 2, 0).to(all_keys.dtype)
        all_values[row, :, self.start : end] = v.transpose(0, 1).to(all_values.dtype)
        query = q.transpose(0, 1)[None]
        if self.start == 0:  # nothing older: causal attention among the new tokens, as packed training has it
            return attention(nn.Module(), query, k.transpose(0, 1)[None], v.transpose(0, 1)[None], None, **options)[0][
                0
            ]
        keys, values = all_keys[row, :, :, :end].transpose(1, 2)[None], all_values[row, :, :end][None]
        seen = self._seen(options["sliding_window"], end, q.device)
        return attention(nn.Module(), query, keys, values, seen, **options)[0][0]

    def _seen(self, window: int | None, end: int, device: torch.device) -> Tensor:
        """bool[1, 1, t, end]: each new token sees those before it, and itself."""
        at, own = torch.arange(end, device=device)[None], torch.arange(self.start, end, device=device)[:, None]
        seen = at <= own if window is None else (at <= own) & (at > own - window)
        return seen[None, None]


Part = Decode | Prefill


def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    ragged: Sequence[Part] | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """query [1, G, T, D], key and value [1, K, T, D] -> [1, T, G, D]; without `ragged`, as training attends."""
    options: dict[str, Any] = {"scaling": scaling, "sliding_window": sliding_window, "softcap": softcap, "s_aux": s_aux}
    if ragged is None:
        return attention(module, query, key, value, attention_mask, **options, **others)
    layer: Any = module.layer_idx
    q, k, v = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)
    sizes = [part.count for part in ragged]
    pieces = zip(ragged, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
    outs = [part.attend(layer, its_q, its_k, its_v, options) for part, its_q, its_k, its_v in pieces]
    return (outs[0] if len(outs) == 1 else torch.cat(outs))[None].contiguous(), None


AttentionInterface.register(NAME, ragged_attention)
AttentionMaskInterface.register(NAME, mask)


def decode_part(slab: Slab, count: int, device: torch.device) -> Decode:
    """The next token of each of the first `count` rows of a slab, by the lengths that its slots have now."""
    lengths = [slot.length for slot in slab.live[:count]]
    longest = max(lengths) + 1
    even = min(lengths) + 1 == longest
    if not even:
        slab.cleaned(longest)
    at = torch.tensor(lengths, device=device)
    return Decode(slab, at, longest, even, torch.arange(count, device=device))


class Recorder:
    """Stands for a step where the shapes of layers are asked for: notes them, and attends as training does."""

    def __init__(self, count: int) -> None:
        self.shapes: dict[int, tuple[int, int, int, torch.dtype]] = {}
        self.count = count

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """q [t, G, D], k and v [t, K, D] -> [t, G, D]."""
        self.shapes[layer] = (k.shape[1], k.shape[2], v.shape[2], k.dtype)
        query, key, value = (x.transpose(0, 1)[None] for x in (q, k, v))
        return attention(nn.Module(), query, key, value, None, **options)[0][0]
