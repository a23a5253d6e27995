"""Exact causal attention over packed documents on CPU, in tiles of at most 256 queries.

torch's CPU kernel is slow on short documents: forward and backward of one document of 175 tokens (4 heads of
64, bf16, one thread) take 3.1 ms there and 1.5 ms here; of 512 tokens 12.1 and 6.0 ms, of 2,048 tokens 97 and 88 ms. A
tile is a few matrix products and torch's own fused softmax, and its backward is written out, so that a whole packed
row is one node of the graph. Shares are kept for the backward up to `KEPT` tokens a document, and computed
again above, where they would outgrow all other activations.

Tiles are widened to multiples of `STEP`, over tokens of the next document whose shares are exactly zero: torch's
bf16 products make a kernel for every new shape and keep the last 1024 of them, 0.7 MB each, scattered over the heap.
With ever new document lengths that cost a tenth of the time and a gigabyte.

Shapes: L tokens in the row, G query heads, K key heads, g = G / K, D head width, t queries and n keys in a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bloomery.models.pieces import Pieces

QUERIES = 256
KEPT = 512
STEP = 32
"""Sizes of tiles are multiples of this."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Queries [q0, q1) that see keys [k0, k1) of the row, and before them those of the beginning that their pieces go
    on from; `kept`: its shares wait for the backward.

    Only the first `rows` queries are its document's; the others, and all keys after their own, have shares of zero.
    """

    q0: int
    q1: int
    k0: int
    k1: int
    rows: int
    kept: bool
    begin: tuple[int, int] = (0, 0)

    @property
    def shared(self) -> int:
        """Tokens of the beginning."""
        return self.begin[1] - self.begin[0]

    def of(self, x: Tensor) -> Tensor:
        """The tile's keys or values [K, n, D] out of the row's."""
        own = x[:, self.k0 : self.k1]
        return torch.cat([x[:, slice(*self.begin)], own], 1) if self.shared else own

    def add(self, total: Tensor, part: Tensor) -> None:
        """Add a tile's gradient [K, n, D] to the row's."""
        if self.shared:
            total[:, slice(*self.begin)] += part[:, : self.shared]
        total[:, self.k0 : self.k1] += part[:, self.shared :]


def tiles(pieces: Pieces, window: int | None) -> list[Tile]:
    """Cut every document into tiles; with a window a tile starts at the first key its first query sees.

    Pieces that go on from one beginning are cut as one stretch, so that many short ones are one product. What a tile
    writes for queries that are not its own is overwritten by the tile after it; the last document's tiles may reach
    beyond the row.
    """
    found = []
    for start, end, begin in pieces.alike():
        shared = begin[1] - begin[0]
        for q0 in range(start, end, QUERIES):
            first = pieces.first_of(q0)
            k0 = first if window is None else max(first, q0 - window + 1)
            rows = min(q0 + QUERIES, end) - q0
            q1 = q0 + _widened(rows)
            k1 = k0 + _widened(shared + q1 - k0) - shared
            kept = shared + (end - start if not shared else k1 - k0) <= KEPT
            found.append(Tile(q0, q1, k0, k1, rows, kept, begin))
    return found


def _widened(size: int) -> int:
    return -(-size // STEP) * STEP


def tiled_attention(
    query: Tensor, key: Tensor, value: Tensor, bounds: Sequence[int] | Pieces, scale: float, window: int | None
) -> Tensor:
    """query [1, G, L, D], key and value [1, K, L, D] -> [1, L, G, D]; documents never see each other."""
    out: Tensor = _TiledAttention.apply(query[0], key[0], value[0], Pieces.of(bounds), scale, window)
    return out[None]


class _TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, pieces: Pieces, scale: float, window: int | None
    ) -> Tensor:
        heads, length, width = query.shape[0], query.shape[1], value.shape[2]
        cut = tiles(pieces, window)
        over = max(0, max(tile.k1 for tile in cut) - length)
        query, key, value = (F.pad(x, (0, 0, 0, over)) if over else x for x in (query, key, value))
        out = query.new_empty(length + over, heads, width)
        kept = []
        for tile in cut:
            shares = _shares(query, key, tile, pieces, scale, window)
            got = torch.bmm(shares, tile.of(value))
            out[tile.q0 : tile.q1].copy_(got.view(heads, -1, width).transpose(0, 1))
            if tile.kept:
                kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.settings = cut, over, pieces, scale, window
        return out[:length]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        query, key, value, *kept = ctx.saved_tensors
        cut, over, pieces, scale, window = ctx.settings
        grad = grad.transpose(0, 1)
        grad = F.pad(grad, (0, 0, 0, over)) if over else grad
        d_query = torch.empty_like(query)
        # a key of a document of several tiles gathers from all of them: in fp32
        d_key = torch.zeros_like(key, dtype=torch.float32)
        d_value = torch.zeros_like(value, dtype=torch.float32)
        remembered = iter(kept)
        for tile in cut:
            shares = next(remembered) if tile.kept else _shares(query, key, tile, pieces, scale, window)
            d_out = _stack(grad[:, tile.q0 : tile.q1], len(key))
            tile.add(d_value, torch.bmm(shares.transpose(1, 2), d_out))
            d_shares = torch.bmm(d_out, tile.of(value).transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_shares, shares, -1, shares.dtype)
            part = _scaled_bmm(d_scores, tile.of(key), scale)
            d_query[:, tile.q0 : tile.q1].copy_(part.view(len(query), -1, query.shape[2]))
            queries = _stack(query[:, tile.q0 : tile.q1], len(key))
            tile.add(d_key, _scaled_bmm(d_scores.transpose(1, 2), queries, scale))
        length = query.shape[1] - over
        d_query, d_key, d_value = d_query[:, :length], d_key[:, :length], d_value[:, :length]
        return d_query, d_key.to(key.dtype), d_value.to(value.dtype), None, None, None


def _shares(query: Tensor, key: Tensor, tile: Tile, pieces: Pieces, scale: float, window: int | None) -> Tensor:
    """Softmax of a tile's scores, [K, g * t, n]; torch computes it in fp32 whatever the dtype."""
    groups = len(query) // len(key)
    queries = _stack(query[:, tile.q0 : tile.q1], len(key))
    bias = _between(pieces, tile, window, query.dtype) if tile.shared else _within(tile, window, query.dtype)
    bias = bias if groups == 1 else bias.repeat(groups, 1)
    shares = torch.baddbmm(bias, queries, tile.of(key).transpose(1, 2), alpha=scale).softmax(-1)
    if tile.rows < tile.q1 - tile.q0:
        shares.view(len(key), groups, -1, shares.shape[2])[:, :, tile.rows :] = 0
    return shares


def _stack(heads: Tensor, key_heads: int) -> Tensor:
    """[G, t, D] -> [K, g * t, D]: the query heads that share a key head, one below the other."""
    return heads.reshape(key_heads, -1, heads.shape[2])


def _scaled_bmm(left: Tensor, right: Tensor, scale: float) -> Tensor:
    empty = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    return torch.baddbmm(empty, left, right, alpha=scale, beta=0)


def _between(pieces: Pieces, tile: Tile, window: int | None, dtype: torch.dtype) -> Tensor:
    """[t, n], 0 where a query may see a key and -inf elsewhere, for pieces that go on from one beginning."""
    name = tile.q0, window, dtype
    if name not in pieces.kept:
        seen = pieces.seen(tile.q0, tile.q1, tile.k0, tile.k1, tile.shared, window)
        pieces.kept[name] = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
    return pieces.kept[name]


def _within(tile: Tile, window: int | None, dtype: torch.dtype) -> Tensor:
    """The same [t, n] within a document: a piece of one band for all tiles."""
    offset = tile.q0 - tile.k0
    reach = max(QUERIES, 1 << offset.bit_length())
    first = reach - offset
    return _band(reach, window, dtype)[: tile.q1 - tile.q0, first : first + tile.k1 - tile.k0]


@lru_cache(maxsize=16)
def _band(reach: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """[QUERIES, reach + QUERIES + STEP]: query i stands at column i + reach and sees it and the `window - 1` before."""
    distance = torch.arange(QUERIES)[:, None] + reach - torch.arange(reach + QUERIES + STEP)
    seen = distance >= 0 if window is None else (distance >= 0) & (distance < window)
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
