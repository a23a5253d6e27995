"""One forward over tokens of many requests: one token of each that answers, stretches of prompts of those that begin.

The tokens stand end to end in one row, so that linear layers see one large product and no padding. Attention is the
only place where requests are told apart: registered with transformers, it is given the step's `parts` as the keyword
argument `ragged`, writes new keys and values into the requests' rows (`slots.py`) and reads the older ones there.

Shapes: T tokens of the step, n rows of a part, W tokens of a slab's rows that are read, G query heads, K key heads, D
head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from bloomery.engine.beginnings import Beginnings, beginnings_of
from bloomery.engine.slots import STEP, Slab, Slot
from bloomery.models.attention import attention, mask

NAME = "bloomery-ragged"
Options = dict[str, Any]
"""What a layer's attention must honour, by the names of `attention`: scaling, window, soft-cap, sinks."""
RUNS = 4
"""Runs of rows that are written one after the other: 64 rows take 16 us as one, 25 as four, and 40 by their indexes."""
NOBODY = nn.Module()
"""In place of the layer that attends, of which our attention asks nothing."""


@dataclass(slots=True)
class Decode:
    """One new token for each of the first n rows of a slab."""

    slab: Slab
    count: int
    """n; the tokens of the step that are of this part."""
    lengths: Tensor
    """int64[n]: tokens in each row before this one."""
    positions: Tensor
    """int64[n]: the same with those of its beginning."""
    longest: int
    """Most tokens of a row, the new one included."""
    runs: Sequence[tuple[slice, int]]
    """Rows next to each other with the same length, and that length."""
    span: int
    """Tokens of each row that are read."""
    rows: Tensor
    beginnings: Sequence[Beginnings]
    masks: dict[int | None, Tensor | None] = field(default_factory=dict)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
        """q [n, G, D], k and v [n, K, D] -> [n, G, D]; query heads of one key head go together.

        The softmax adds up in fp32 whatever it is given.
        """
        keys, values = self._written(layer, k, v)
        scale = options["scaling"]
        query = q * (q.shape[2] ** -0.5 if scale is None else scale)
        scores = [one.scores(layer, query) for one in self.beginnings] + [_scores(query, keys)]
        joint = scores[0] if len(scores) == 1 else torch.cat(scores, -1)
        shares = _shares(joint, self._hidden(options["sliding_window"]), options["softcap"], options["s_aux"])
        if len(scores) == 1:
            return _weighted(shares, values)
        *parts, own = shares.split([one.shape[-1] for one in scores], -1)
        out = _weighted(own, values)
        for one, part in zip(self.beginnings, parts, strict=True):
            one.add_values(layer, part, out)
        return out

    def _written(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [n, K, W, D] with the new ones."""
        keys, values = self.slab.layers[layer]
        if len(self.runs) <= RUNS:
            for rows, length in self.runs:
                keys[rows, :, length], values[rows, :, length] = k[rows], v[rows]
        else:
            keys[self.rows, :, self.lengths] = k.to(keys.dtype)
            values[self.rows, :, self.lengths] = v.to(values.dtype)
        return keys[: self.count, :, : self.span], values[: self.count, :, : self.span]

    def _hidden(self, window: int | None) -> Tensor | None:
        """bool[n, 1, P + W]: which tokens each row may not see, once for all layers of a step; None if it sees all."""
        if window not in self.masks:
            even = len(self.runs) == 1 and self.longest == self.span
            full = even and (window is None or window >= self.longest)
            self.masks[window] = None if full and not self.beginnings else self._masked(window)
        return self.masks[window]

    def _masked(self, window: int | None) -> Tensor:
        at, last = torch.arange(self.span, device=self.lengths.device)[None], self.lengths[:, None]
        own = at > last if window is None else (at > last) | (at <= last - window)
        past = self.positions[:, None]
        return torch.cat([*(one.hidden(window, past) for one in self.beginnings), own[:, None]], -1)


def _scores(query: Tensor, keys: Tensor) -> Tensor:
    """Scaled queries [n, G, D], keys [n, K, W, D] -> [n, G, W]."""
    (n, groups, width), (heads, length) = query.shape, keys.shape[1:3]
    query = query.reshape(n * heads, groups // heads, width)
    return torch.bmm(query, keys.view(n * heads, length, width).transpose(1, 2)).view(n, groups, length)


def _shares(scores: Tensor, hidden: Tensor | None, softcap: float | None, sinks: Tensor | None) -> Tensor:
    """The softmax of scores [n, G, S], in place where it can be; soft-cap and sinks as training has them."""
    if softcap is None and sinks is None:
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        return scores.softmax(-1)
    exact = scores.float()
    if softcap is not None:
        exact = torch.tanh(exact / softcap) * softcap
    if hidden is not None:
        exact = exact.masked_fill(hidden, -torch.inf)
    if sinks is not None:
        exact = torch.cat([exact, sinks.float().view(1, -1, 1).expand(len(exact), -1, 1)], -1)
    return exact.softmax(-1)[..., : scores.shape[-1]].to(scores.dtype)


def _weighted(shares: Tensor, values: Tensor) -> Tensor:
    """Shares [n, G, W], values [n, K, W, D] -> [n, G, D].

    How a product is written decides which kernel computes it: a row of 16-bit shares goes as a turned column, 1.0 ms
    for 64 rows of 96 tokens in 8 layers (256 wide) instead of 1.3.
    """
    (n, groups, length), heads = shares.shape, values.shape[1]
    shares = shares.reshape(n * heads, -1, length)
    if groups == heads and shares.dtype != torch.float32:
        shares = shares.view(-1, length, 1).transpose(1, 2)
    return torch.bmm(shares, values.view(n * heads, length, -1)).view(n, groups, -1)


@dataclass(slots=True)
class Prefill:
    """The next tokens of one request's prompt, or the first ones of several whose rows lie next to each other."""

    slots: list[Slot]
    start: int
    """Tokens in its row before these; 0 for several."""
    each: int
    """t; the new tokens of each."""
    device: torch.device

    @property
    def count(self) -> int:
        """n t; the tokens of the step that are of this part."""
        return len(self.slots) * self.each

    @property
    def positions(self) -> Tensor:
        """int64[n t]: each token's place in its request."""
        past = self.slots[0].past
        return torch.arange(past, past + self.each, device=self.device).repeat(len(self.slots))

    def joined(self, slot: Slot, count: int) -> bool:
        """Whether the first `count` tokens of another row are now read with these: many short prompts of one length
        take 0.5 ms a layer where each by itself takes 1.6 (16 of 32 tokens) and 3 (64 of 8)."""
        last = self.slots[-1]
        alike = not self.start and not last.past and not slot.past and count == self.each
        if not alike or slot.slab is not last.slab or slot.row != last.row + 1:
            return False
        self.slots.append(slot)
        return True

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
        """q [n t, G, D], k and v [n t, K, D] -> [n t, G, D]."""
        first, end = self.slots[0], self.start + self.each
        rows = slice(first.row, first.row + len(self.slots))
        query, new_keys, new_values = (
            x.view(len(self.slots), self.each, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)
        )
        all_keys, all_values = first.slab.layers[layer]
        all_keys[rows, :, self.start : end] = new_keys.to(all_keys.dtype)
        all_values[rows, :, self.start : end] = new_values.to(all_values.dtype)
        if not first.skipped + self.start:  # nothing older: causal among the new tokens, as packed training has it
            out = attention(NOBODY, query, new_keys, new_values, None, **options)[0]
            return out.reshape(self.count, *out.shape[2:])
        keys, values = all_keys[first.row, :, :end], all_values[first.row, :, :end]
        if first.beginning is not None:
            begun, skipped = first.beginning, first.skipped
            before = (one[begun.row, :, :skipped] for one in begun.slab.layers[layer])
            keys, values = (torch.cat(pair, 1) for pair in zip(before, (keys, values), strict=True))
        seen = self._seen(options["sliding_window"], first.skipped)
        return attention(NOBODY, query, keys[None], values[None], seen, **options)[0][0]

    def _seen(self, window: int | None, skipped: int) -> Tensor:
        """bool[1, 1, t, skipped + start + t]: each new token sees those before it, and itself."""
        end = skipped + self.start + self.each
        at = torch.arange(end, device=self.device)[None]
        own = at[0, end - self.each :, None]
        seen = at <= own if window is None else (at <= own) & (at > own - window)
        return seen[None, None]


Part = Decode | Prefill
Forward = Callable[[Tensor, Tensor, Sequence[Part]], Tensor]
"""Ids int64[T], positions int64[T] and parts of a step -> the last hidden states [T, H]."""


def attend(parts: Sequence[Part], layer: int, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
    """q [T, G, D], k and v [T, K, D] of a step -> [T, G, D]."""
    if len(parts) == 1:
        return parts[0].attend(layer, q, k, v, options)
    sizes = [part.count for part in parts]
    pieces = zip(parts, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
    return torch.cat([part.attend(layer, its_q, its_k, its_v, options) for part, its_q, its_k, its_v in pieces])


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
    options: Options = {"scaling": scaling, "sliding_window": sliding_window, "softcap": softcap, "s_aux": s_aux}
    if ragged is None:
        return attention(module, query, key, value, attention_mask, **options, **others)
    layer: Any = module.layer_idx
    q, k, v = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)
    out = attend(ragged, layer, q, k, v, options)
    return out[None].contiguous(), None


AttentionInterface.register(NAME, ragged_attention)
AttentionMaskInterface.register(NAME, mask)


def decode_part(slab: Slab, device: torch.device) -> Decode:
    """The next token of each answering row of a slab, by the lengths that its slots have now."""
    live = slab.live[: slab.ready]
    lengths, positions = [slot.length for slot in live], [slot.past for slot in live]
    longest, count = max(lengths) + 1, len(lengths)
    slab.widen(longest)
    at, all_at = torch.tensor(lengths, device=device), torch.tensor(positions, device=device)
    if slab.plan is None:
        slab.plan = beginnings_of(live, device)
    # whole rows, though some of their tokens are masked (see `slots.py`), unless another row has made them far too wide
    span = slab.width if slab.width <= 2 * longest + STEP else longest
    rows = torch.arange(count, device=device)
    return Decode(slab, count, at, all_at, longest, _runs(lengths), span, rows, slab.plan)


def _runs(lengths: Sequence[int]) -> list[tuple[slice, int]]:
    found, start = [], 0
    for length, same in groupby(lengths):
        end = start + len([*same])
        found.append((slice(start, end), length))
        start = end
    return found


def prefill_part(slot: Slot, count: int, device: torch.device) -> Prefill:
    """The next `count` tokens of the prompt of a row."""
    slot.slab.widen(slot.length + count)
    return Prefill([slot], slot.length, count, device)


def own_forward(model: nn.Module) -> Forward:
    """Through the layers of transformers, which attend through us."""
    decoder: Any = model.get_decoder()  # type: ignore[operator]

    def forward(ids: Tensor, positions: Tensor, parts: Sequence[Part]) -> Tensor:
        out = decoder(input_ids=ids[None], position_ids=positions[None], ragged=parts, use_cache=False)
        hidden: Tensor = out[0][0]
        return hidden

    return forward
