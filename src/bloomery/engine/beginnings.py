"""Attention of answering rows to what several of them begin with, which is kept, and read, once.

The queries of all rows that go on from one beginning make one product with its keys, where each row by itself would
read them again: with 8 answers to a prompt of 512 tokens, attention takes a third of the time. (Hydragen, Juravsky et
al., arXiv 2402.05099, joins two softmaxes by their sums; here scores stand side by side in one.)

Shapes: n rows of a part, g beginnings of one slab, m rows of the one that has most, P its slab's present width, G query
heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bloomery.engine.slots import Slab, Slot


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Which rows of a part go on from the beginnings of one slab."""

    slab: Slab
    count: int
    """g."""
    members: Tensor
    """int64[g * m]: the rows of the part that go on from each; where there are fewer, row 0 stands in."""
    rows: Tensor | None
    """int64[r]: the rows that have their beginning here; None if all have."""
    places: Tensor
    """int64[r]: where each of them stands among the members."""
    seen: Tensor
    """int64[n, 1]: tokens of its beginning that each row sees; 0 for a row that has none here."""

    def scores(self, layer: int, query: Tensor) -> Tensor:
        """Scaled queries [n, G, D] -> [n, G, P], rubbish for a row that has no beginning here."""
        keys = self.slab.layers[layer][0][: self.count]
        count, heads, length, width = keys.shape
        product = torch.bmm(self._by_key(query, heads), keys.view(count * heads, length, width).transpose(1, 2))
        found = self._by_row(product, heads)
        if self.rows is None:
            return found
        return found.new_zeros(len(query), *found.shape[1:]).index_copy_(0, self.rows, found)

    def add_values(self, layer: int, shares: Tensor, out: Tensor) -> None:
        """Add to out [n, G, D] the beginnings' values by shares [n, G, P]."""
        values = self.slab.layers[layer][1][: self.count]
        count, heads, length, width = values.shape
        product = torch.bmm(self._by_key(shares, heads), values.view(count * heads, length, width))
        found = self._by_row(product, heads)
        if self.rows is None:
            out.add_(found)
        else:
            out.index_add_(0, self.rows, found)

    def hidden(self, window: int | None, past: Tensor) -> Tensor:
        """bool[n, 1, P]: which tokens of the beginnings rows with `past` int64[n, 1] tokens may not see."""
        at = torch.arange(self.slab.width, device=past.device)[None]
        unseen = at >= self.seen
        return (unseen if window is None else unseen | (at <= past - window))[:, None]

    def _by_key(self, x: Tensor, heads: int) -> Tensor:
        """[n, G, D] -> [g * K, m * G / K, D]: what is multiplied with one head of one beginning."""
        x = x.index_select(0, self.members).view(self.count, -1, heads, x.shape[1] // heads, x.shape[2])
        return x.transpose(1, 2).reshape(self.count * heads, -1, x.shape[-1])

    def _by_row(self, x: Tensor, heads: int) -> Tensor:
        """And back, for the rows that are really there: -> [r, G, D]."""
        each = len(self.members) // self.count
        x = x.view(self.count, heads, each, -1, x.shape[-1]).transpose(1, 2)
        return x.reshape(len(self.members), -1, x.shape[-1]).index_select(0, self.places)


def beginnings_of(rows: Sequence[Slot], device: torch.device) -> list[Beginnings]:
    """Of the rows of a part, by the slabs of their beginnings."""
    slabs = {id(slot.beginning.slab): slot.beginning.slab for slot in rows if slot.beginning is not None}
    return [_in_slab(slab, rows, device) for slab in slabs.values()]


def _in_slab(slab: Slab, rows: Sequence[Slot], device: torch.device) -> Beginnings:
    users: list[list[int]] = [[] for _ in slab.live]
    for row, slot in enumerate(rows):
        if slot.beginning is not None and slot.beginning.slab is slab:
            users[slot.beginning.row].append(row)
    most = max(len(those) for those in users)
    members = [row for those in users for row in those + [0] * (most - len(those))]
    places = {row: at * most + number for at, those in enumerate(users) for number, row in enumerate(those)}
    own = sorted(places)
    seen = [rows[row].skipped if row in places else 0 for row in range(len(rows))]
    on = lambda values: torch.tensor(values, dtype=torch.long, device=device)  # noqa: E731
    whole = len(own) == len(rows)
    return Beginnings(
        slab, len(users), on(members), None if whole else on(own), on([places[row] for row in own]), on(seen)[:, None]
    )
