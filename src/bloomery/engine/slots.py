"""Keys and values of running requests, in slabs of equal rows within one budget of memory.

A request takes a row of the smallest slab that holds its prompt and its longest answer, so that no step ever runs out
of room. The live rows of a slab are always its first ones: decoding reads them as one tensor, without gathering. For
that the last row moves into a hole, once per finished request, where a table of pages would be gathered in every step:
a CPU reads memory at the speed it attends at. For the same reason rows stand close together, and move apart as they
grow: 96 of 112 tokens of each row are read half as fast as all 112.

What several requests begin with is kept once, in a row of a slab of beginnings; their own rows hold what follows.

Shapes: R rows, S tokens of capacity, W tokens of present width, K key heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

SMALLEST = 64
"""Tokens in a row of the smallest slab; each next one doubles."""
SLAB_ROWS = 64
"""Rows of a slab, where the budget holds as many. More slabs are more calls in every layer of every step."""
STEP = 32
"""Least tokens by which the rows of a slab grow wider. Fewer copy more often, more leave wider gaps."""
BEGINNINGS = 16
"""Rows of a slab of beginnings."""


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
    owner: Any = None
    """Whose it is; the slots themselves do not ask."""
    beginning: Slot | None = None
    """The row with what comes before these tokens."""
    skipped: int = 0
    """How many of the beginning's tokens do."""
    users: int = 0
    """Rows of which it is the beginning."""

    @property
    def past(self) -> int:
        """Tokens of the request so far."""
        return self.skipped + self.length


@dataclass(eq=False, slots=True)
class Slab:
    """Rows of one capacity: by layer, keys and values [R, K, W, D]."""

    size: int
    rows: int
    memory: dict[int, tuple[Tensor, Tensor]]
    """By layer, room for keys and values [R, K, S, D]; untouched memory is not even there."""
    width: int = 0
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    live: list[Slot] = field(default_factory=list)
    ready: int = 0
    """How many of the first rows answer; those behind them still read their prompts. All W values of an answering row
    are numbers: what is masked takes part in products, where nothing times what lay in fresh memory may be no number.
    """
    shared: bool = False
    """Whether its rows are beginnings, which do not grow."""
    plan: Any = None
    """What decoding has found out about the rows that answer, until one comes or goes (`beginnings.py`)."""

    def widen(self, tokens: int) -> None:
        """Make room for `tokens` tokens in each row, and some more to come."""
        if tokens <= self.width:
            return
        width = min(self.size, tokens + (0 if self.shared else max(STEP, tokens // 16)))
        for number, tensors in self.memory.items():
            keys, values = (self._moved(tensor, self.layers[number][i], width) for i, tensor in enumerate(tensors))
            values[: self.ready, :, self.width :].zero_()
            self.layers[number] = keys, values
        self.width = width

    def narrow(self) -> None:
        """Forget everything."""
        self.width = 0
        self.layers = {number: (keys[:, :, :0], values[:, :, :0]) for number, (keys, values) in self.memory.items()}

    def _moved(self, memory: Tensor, old: Tensor, width: int) -> Tensor:
        """The same rows `width` tokens wide."""
        rows, heads, _, each = memory.shape
        new = memory.view(-1)[: rows * heads * width * each].view(rows, heads, width, each)
        new[: len(self.live), :, : self.width] = old[: len(self.live)].clone()  # over itself, so by a copy
        return new


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

    def take(self, tokens: int, *, shared: bool = False) -> Slot | None:
        """A row for `tokens` tokens; None while there is no room."""
        size = _capacity(tokens)
        fit = (s for s in self.slabs if s.size == size and s.shared == shared and len(s.live) < s.rows)
        slab = next(fit, None) or self._grow(size, shared)
        if slab is None:
            return None
        if not slab.live:
            slab.narrow()
        slot = Slot(slab, len(slab.live))
        slab.live.append(slot)
        return slot

    def begin(self, source: Slot, tokens: int) -> Slot | None:
        """A row with the first `tokens` tokens of a request, for others to go on from; None while there is no room."""
        if source.beginning is not None and tokens <= source.skipped:
            return source.beginning
        slot = self.take(tokens, shared=True)
        if slot is not None:
            self.repeat(source, slot, tokens)
            self.ready(slot)
        return slot

    def repeat(self, source: Slot, target: Slot, tokens: int) -> None:
        """Fill an empty row with the first `tokens` tokens of another's request."""
        target.slab.widen(tokens)
        before = min(source.skipped, tokens)
        if source.beginning is not None:
            copy(source.beginning, target, before)
        copy(source, target, tokens - before, at=before)
        target.length = tokens

    def go_on(self, slot: Slot, beginning: Slot, tokens: int) -> None:
        """Let what an empty row will hold come behind the first `tokens` tokens of a beginning."""
        assert not slot.length and slot.beginning is None
        slot.beginning, slot.skipped = beginning, tokens
        beginning.users += 1

    def shorten(self, slot: Slot, beginning: Slot, tokens: int, room: int) -> Slot:
        """A row of `room` tokens in place of one whose request's first `tokens` tokens are kept as a beginning by now;
        the same one while there is no room."""
        new = self.take(room)
        if new is None:
            return slot
        self.go_on(new, beginning, tokens)
        own = slot.past - tokens
        new.slab.widen(own)
        copy(slot, new, own, start=tokens - slot.skipped)
        new.length, new.owner = own, slot.owner
        if slot.row < slot.slab.ready:
            self.ready(new)
        self.give(slot)
        return new

    def ready(self, slot: Slot) -> None:
        """The row's prompt is read: it joins those that answer."""
        self._changed()
        slab = slot.slab
        other = slab.live[slab.ready]
        if other is not slot:
            _exchange(slot, other)
        for _, values in slab.layers.values():
            values[slot.row, :, slot.length :].zero_()
        slab.ready += 1

    def rest(self, slot: Slot) -> None:
        """An answering row answers no more, and keeps what it holds."""
        self._changed()
        slab = slot.slab
        slab.ready -= 1
        if slab.live[slab.ready] is not slot:
            _exchange(slot, slab.live[slab.ready])

    def cut(self, slot: Slot, tokens: int) -> None:
        """Forget all but the first `tokens` tokens of a row's request."""
        slot.skipped = min(slot.skipped, tokens)
        slot.length = tokens - slot.skipped

    def give(self, slot: Slot) -> None:
        """Free a row; rows move into the hole so that those that answer stay first, and live ones together."""
        self._changed()
        slab, beginning = slot.slab, slot.beginning
        slot.length, slot.owner, slot.beginning, slot.skipped = 0, None, None, 0
        if slot.row < slab.ready:
            slab.ready -= 1
            slot = _move(slab.live[slab.ready], slot)
        _move(slab.live[-1], slot)
        slab.live.pop()
        if beginning is not None:
            beginning.users -= 1
            self.spare(beginning)

    def spare(self, beginning: Slot) -> None:
        """Free a beginning that no row goes on from."""
        if not beginning.users:
            self.give(beginning)

    def _changed(self) -> None:
        for slab in self.slabs:
            slab.plan = None

    def _grow(self, size: int, shared: bool) -> Slab | None:
        """A new slab of rows of `size` tokens, in place of empty slabs where the budget asks for it."""
        row = size * self.token_bytes
        if self.budget - self.held < row:
            self.slabs = [slab for slab in self.slabs if slab.live]
        left = (self.budget - self.held) // row
        if left < 1:
            return None
        rows = min(BEGINNINGS if shared else SLAB_ROWS, max(1, left * 3 // 4))  # rows of other sizes need room too
        memory = {number: self._layer(shape, rows, size) for number, shape in self.shapes.items()}
        slab = Slab(size, rows, memory, shared=shared)
        self.slabs.append(slab)
        return slab

    def _layer(self, shape: Shape, rows: int, size: int) -> tuple[Tensor, Tensor]:
        keys = torch.empty(rows, shape.heads, size, shape.key_width, dtype=shape.dtype, device=self.device)
        values = torch.empty(rows, shape.heads, size, shape.value_width, dtype=shape.dtype, device=self.device)
        return keys, values


def copy(source: Slot, target: Slot, tokens: int, *, start: int = 0, at: int = 0) -> None:
    """Copy `tokens` tokens of a row, from `start` on, into another, to `at`; the lengths are the caller's to set."""
    for number, pair in source.slab.layers.items():
        for from_, to in zip(pair, target.slab.layers[number], strict=True):
            to[target.row, :, at : at + tokens] = from_[source.row, :, start : start + tokens]


def _move(slot: Slot, hole: Slot) -> Slot:
    """Move a row into a hole; where it was is the hole then."""
    if slot is not hole:
        copy(slot, hole, slot.length)
        slot.row, hole.row = hole.row, slot.row
        slot.slab.live[slot.row], slot.slab.live[hole.row] = slot, hole
    return hole


def _exchange(one: Slot, other: Slot) -> None:
    """Let two rows of a slab change places."""
    pair, turned = [one.row, other.row], [other.row, one.row]
    longest = max(one.length, other.length)
    for tensors in one.slab.layers.values():
        for tensor in tensors:
            tensor[pair, :, :longest] = tensor[turned, :, :longest]
    one.row, other.row = other.row, one.row
    one.slab.live[one.row], one.slab.live[other.row] = one, other


def _capacity(tokens: int) -> int:
    """The least power of two times `SMALLEST` that holds `tokens`."""
    return SMALLEST << max(0, (tokens - 1) // SMALLEST).bit_length()
