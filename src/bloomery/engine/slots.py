"""Keys and values of running requests, in slabs of equal rows within one budget of memory.

A request takes a row of the smallest slab that holds its prompt and its longest answer, so that no step ever runs out
of room. The live rows of a slab are always its first ones: decoding reads them as one tensor, without gathering. For
that the last row moves into a hole, once per finished request, where a table of pages would be gathered in every step:
a CPU reads memory at the speed it attends at.

Shapes: R rows, S tokens of capacity, K key heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 64
"""Tokens in a row of the smallest slab; each next one doubles."""
SLAB_ROWS = 64
"""Rows of a slab, where the budget holds as many. More slabs are more calls in every layer of every step."""


class Shape(NamedTuple):
    """What one layer keeps of a token."""

    heads: int
    key_width: int
    value_width: int
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Bytes of one token."""
        return self.heads * (self.key_width + self.value_width) * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class Slot:
    """One row of a slab; `length` tokens of it are filled."""

    slab: Slab
    row: int
    length: int = 0


@dataclass(eq=False, slots=True)
class Slab:
    """Rows of one capacity: by layer, keys and values [R, K, S, D]."""

    size: int
    rows: int
    layers: dict[int, tuple[Tensor, Tensor]]
    live: list[Slot] = field(default_factory=list)
    ready: int = 0
    """How many of the first rows answer; those behind them still read their prompts."""
    clean: list[int] = field(default_factory=list)
    """By row, how many of its first tokens have values that are numbers."""

    def cleaned(self, longest: int) -> None:
        """Make the first `longest` values of the answering rows numbers: what is masked takes part in products, where
        nothing times what lay in fresh memory may be no number. Rows are filled as far as they are read, since memory
        that nobody touches is not even there.
        """
        for slot in self.live[: self.ready]:
            have, end = max(self.clean[slot.row], slot.length), min(self.size, longest + SMALLEST)
            if have < longest:
                for _, values in self.layers.values():
                    values[slot.row, :, have:end].zero_()
                self.clean[slot.row] = end


class Slots:
    """All slabs. `budget` in bytes bounds them."""

    def __init__(self, shapes: dict[int, Shape], budget: int, device: torch.device) -> None:
        self.shapes, self.budget, self.device = shapes, budget, device
        self.token_bytes = sum(shape.bytes for shape in shapes.values())
        self.slabs: list[Slab] = []

    @property
    def held(self) -> int:
        """Bytes of all slabs."""
        return sum(slab.size * slab.rows for slab in self.slabs) * self.token_bytes

    @property
    def used(self) -> int:
        """Bytes of the live rows."""
        return sum(slab.size * len(slab.live) for slab in self.slabs) * self.token_bytes

    def fits(self, tokens: int) -> bool:
        """Whether so many tokens could be held if nothing else were."""
        return _capacity(tokens) * self.token_bytes <= self.budget

    def take(self, tokens: int) -> Slot | None:
        """A row for `tokens` tokens; None while there is no room."""
        size = _capacity(tokens)
        slab = next((s for s in self.slabs if s.size == size and len(s.live) < s.rows), None) or self._grow(size)
        if slab is None:
            return None
        slot = Slot(slab, len(slab.live))
        slab.live.append(slot)
        return slot

    def ready(self, slot: Slot) -> None:
        """The row's prompt is read: it joins those that answer."""
        slab = slot.slab
        other = slab.live[slab.ready]
        if other is not slot:
            _exchange(slot, other)
        slab.ready += 1

    def give(self, slot: Slot) -> None:
        """Free a row; rows move into the hole so that those that answer stay first, and live ones together."""
        slab = slot.slab
        slab.clean[slot.row], slot.length = max(slab.clean[slot.row], slot.length), 0
        if slot.row < slab.ready:
            slab.ready -= 1
            slot = _move(slab.live[slab.ready], slot)
        _move(slab.live[-1], slot)
        slab.live.pop()

    def _grow(self, size: int) -> Slab | None:
        """A new slab of rows of `size` tokens, in place of empty slabs where the budget asks for it."""
        row = size * self.token_bytes
        if self.budget - self.held < row:
            self.slabs = [slab for slab in self.slabs if slab.live]
        rows = min(SLAB_ROWS, (self.budget - self.held) // row)
        if rows < 1:
            return None
        layers = {number: self._layer(shape, rows, size) for number, shape in self.shapes.items()}
        slab = Slab(size, rows, layers, clean=[0] * rows)
        self.slabs.append(slab)
        return slab

    def _layer(self, shape: Shape, rows: int, size: int) -> tuple[Tensor, Tensor]:
        keys = torch.empty(rows, shape.heads, size, shape.key_width, dtype=shape.dtype, device=self.device)
        values = torch.empty(rows, shape.heads, size, shape.value_width, dtype=shape.dtype, device=self.device)
        return keys, values


def copy_prefix(source: Slot, target: Slot, tokens: int) -> None:
    """Copy the first `tokens` tokens of a row into another; the target's own length is the caller's to set."""
    for number, (keys, values) in source.slab.layers.items():
        to_keys, to_values = target.slab.layers[number]
        to_keys[target.row, :, :tokens] = keys[source.row, :, :tokens]
        to_values[target.row, :, :tokens] = values[source.row, :, :tokens]


def _move(slot: Slot, hole: Slot) -> Slot:
    """Move a row into a hole; where it was is the hole then."""
    if slot is not hole:
        clean = slot.slab.clean
        clean[hole.row] = max(clean[hole.row], slot.length)
        clean[slot.row] = max(clean[slot.row], slot.length)
        copy_prefix(slot, hole, slot.length)
        slot.row, hole.row = hole.row, slot.row
        slot.slab.live[slot.row], slot.slab.live[hole.row] = slot, hole
    return hole


def _exchange(one: Slot, other: Slot) -> None:
    """Let two rows of a slab change places."""
    pair, turned = [one.row, other.row], [other.row, one.row]
    clean = one.slab.clean
    clean[one.row], clean[other.row] = max(clean[other.row], other.length), max(clean[one.row], one.length)
    for tensors in one.slab.layers.values():
        for tensor in tensors:
            tensor[pair] = tensor[turned]
    one.row, other.row = other.row, one.row
    one.slab.live[one.row], one.slab.live[other.row] = one, other


def _capacity(tokens: int) -> int:
    """The least power of two times `SMALLEST` that holds `tokens`."""
    return SMALLEST << max(0, (tokens - 1) // SMALLEST).bit_length()
