"""From a step's TokenRows to the tensors of its micro-batches.

A step's rows are fixed before they are split; how they are split over micro-batches and ranks changes
neither the loss nor the gradient, because documents never see each other and every part is divided
by its denominator over the whole step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bloomery.core.rows import TokenRow
from bloomery.data.packing import best_fit
from bloomery.models.pieces import Pieces
from bloomery.models.varlen import sent

Tensors = dict[str, torch.Tensor]
Array = npt.NDArray[Any]

WORTH_SHARING = 8
"""Equal first tokens from which rows of a group have them once: fewer save less than the cut costs."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass.

    Packed: `input_ids` and `position_ids` are int64[1, L], `bounds` the L-axis starts of the documents
    and L itself, `attention_mask` None. Shared: the same, but rows of one group that begin alike have their beginning
    once, in the first of them, and `bounds` are `Pieces`. Padded: int64[B, T], `bounds` None, `attention_mask`
    int64[B, T].
    `at` int64[n] are flat positions whose next token is trained, `targets` int64[n] those tokens, `row`
    int64[n] the index into the micro-batch's rows, `group` int64[n] that of its group (a row without one is its own),
    `weight[part]` float32[n], `extra` float32[n] by name (advantage, logp_sampled, logp_ref) where the rows carry them.

    L and n are rounded up by `repeating`: a packed row may end with a document that no row is of, and `at` with
    positions of weight 0.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    bounds: tuple[int, ...] | Pieces | None
    attention_mask: torch.Tensor | None
    at: torch.Tensor
    targets: torch.Tensor
    row: torch.Tensor
    group: torch.Tensor
    weight: Tensors
    extra: Tensors
    rows: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row lies in a micro-batch: its first `shared` tokens from `base` on, the others from `start` on."""

    base: int
    shared: int
    start: int

    def at(self, tokens: Array) -> Array:
        """Flat positions of the row's tokens."""
        return np.where(tokens < self.shared, self.base + tokens, self.start + tokens - self.shared)


def split_step(
    rows: Sequence[TokenRow], micro_tokens: int, ranks: int, packing: str = "packed"
) -> list[list[list[int]]]:
    """Row indexes of each micro-batch of each rank, `[rank][micro][row]`.

    Packs are dealt out largest first to the rank with the least work; all ranks get the same
    number of micro-batches, the missing ones empty, since they meet in the same collectives.
    Rows of one `group_id` stay in one micro-batch.
    """
    units = _units(rows)
    sizes = [_size([rows[i] for i in unit], packing) for unit in units]
    packs = best_fit(sizes, max(micro_tokens, max(sizes)))
    packs.sort(key=lambda pack: -sum(sizes[u] for u in pack))
    dealt: list[list[list[int]]] = [[] for _ in range(ranks)]
    work = [0] * ranks
    for pack in packs:
        rank = min(range(ranks), key=lambda r: (work[r], len(dealt[r])))
        dealt[rank].append([i for u in pack for i in units[u]])
        work[rank] += sum(sizes[u] for u in pack)
    most = max(len(mine) for mine in dealt)
    return [mine + [[]] * (most - len(mine)) for mine in dealt]


def read_tokens(rows: Sequence[TokenRow], packing: str) -> int:
    """Tokens that the model reads of the rows: a beginning that a group shares once, where packing is "shared"."""
    if packing != "shared":
        return sum(map(len, rows))
    return sum(_size([rows[i] for i in unit], packing) for unit in _units(rows))


def _size(unit: Sequence[TokenRow], packing: str) -> int:
    """Tokens that a group of rows takes."""
    return sum(map(len, unit)) - (len(unit) - 1) * (common_beginning(unit) if packing == "shared" else 0)


def common_beginning(rows: Sequence[TokenRow]) -> int:
    """How many first tokens the rows have in common; 0 where these are too few to be worth a cut."""
    first, common = rows[0].ids, min(map(len, rows))
    for row in rows[1:]:
        differ = np.flatnonzero(first[:common] != row.ids[:common])
        common = int(differ[0]) if len(differ) else common
    return common if len(rows) > 1 and common >= WORTH_SHARING else 0


def _units(rows: Sequence[TokenRow]) -> list[list[int]]:
    units: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        units.setdefault(f"group:{row.group_id}" if row.group_id else f"row:{index}", []).append(index)
    return list(units.values())


def denominators(rows: Sequence[TokenRow]) -> dict[str, float]:
    """What each loss part is divided by, over the whole step: the sum of its weights, of `pref` how many groups."""
    totals = {"pref": float(sum(any("pref" in rows[i].weight for i in unit) for unit in _units(rows)))}
    for row in rows:
        for part, weight in row.weight.items():
            if part != "pref":
                totals[part] = totals.get(part, 0.0) + float(weight.sum(dtype=np.float64))
    return {part: total for part, total in totals.items() if total > 0}


def make_micro_batch(rows: Sequence[TokenRow], device: torch.device, packing: str, empty: TokenRow) -> MicroBatch:
    """Tensors of one micro-batch, `packing` "padded", "packed" or "shared"; with no rows, two tokens of `empty` under a
    part that no loss knows."""
    rows = rows or [TokenRow(empty.ids[:2], {"none": np.array([0, 1], np.float32)}, "", "", "")]
    places = places_of(rows, packing)
    flat = {key: _lengthened(value) for key, value in _flatten(rows, places).items()}
    ids, positions, mask = _padded_ids(rows) if packing == "padded" else _packed_ids(rows, places)

    def put(array: Array) -> torch.Tensor:
        return sent(array, device)

    return MicroBatch(
        input_ids=put(ids),
        position_ids=put(positions),
        bounds=None if packing == "padded" else _bounds(rows, places, ids.shape[1]),
        attention_mask=None if mask is None else put(mask),
        at=put(flat.pop("at")),
        targets=put(flat.pop("targets")),
        row=put(flat.pop("row")),
        group=put(flat.pop("group")),
        weight={p: put(flat.pop(f"weight/{p}")) for p in _parts(rows)},
        extra={name: put(value) for name, value in flat.items()},
        rows=len(rows),
    )


def places_of(rows: Sequence[TokenRow], packing: str) -> list[Place]:
    """Where each row lies. Of a group that begins alike the first row is whole."""
    if packing == "padded":
        width = max(map(len, rows))
        return [Place(0, 0, index * width) for index in range(len(rows))]
    places: dict[int, Place] = {}
    start = 0
    for unit in _units(rows):
        common = common_beginning([rows[i] for i in unit]) if packing == "shared" else 0
        base = start
        for number, index in enumerate(unit):
            places[index] = Place(base, common if number else 0, start)
            start += len(rows[index]) - places[index].shared
    return [places[index] for index in range(len(rows))]


def _bounds(rows: Sequence[TokenRow], places: Sequence[Place], length: int) -> tuple[int, ...] | Pieces:
    """Where documents start in a packed row of `length` tokens; the last may be one that fills it up."""
    begins = {}
    for row, place in zip(rows, places, strict=True):
        if len(row) > place.shared:
            begins[place.start] = (place.base, place.base + place.shared) if place.shared else (0, 0)
    end = sum(len(row) - place.shared for row, place in zip(rows, places, strict=True))
    if end < length:
        begins[end] = (0, 0)
    starts = (*sorted(begins), length)
    shared = any(end > start for start, end in begins.values())
    return Pieces(starts, tuple(begins[start] for start in starts[:-1])) if shared else starts


def _parts(rows: Sequence[TokenRow]) -> list[str]:
    return sorted({part for row in rows for part in row.weight})


def _flatten(rows: Sequence[TokenRow], places: Sequence[Place]) -> dict[str, Array]:
    parts = _parts(rows)
    extras = [n for n in ("advantage", "logp_sampled", "logp_ref") if any(getattr(r, n) is not None for r in rows)]
    group = {index: number for number, unit in enumerate(_units(rows)) for index in unit}
    pieces: dict[str, list[Array]] = {key: [] for key in ("at", "targets", "row", "group")}
    for index, row in enumerate(rows):
        weights = np.stack([row.weight.get(p, _zeros(row)) for p in parts]) if parts else np.zeros((0, len(row)))
        used = np.flatnonzero((weights != 0).any(axis=0))
        pieces["at"].append(places[index].at(used - 1))
        pieces["targets"].append(row.ids[used])
        pieces["row"].append(np.full(len(used), index))
        pieces["group"].append(np.full(len(used), group[index]))
        for part, weight in zip(parts, weights, strict=True):
            pieces.setdefault(f"weight/{part}", []).append(weight[used])
        for name in extras:
            value = getattr(row, name)
            pieces.setdefault(name, []).append((_zeros(row) if value is None else value)[used])
    kinds = dict.fromkeys(("at", "targets", "row", "group"), np.int64)
    return {key: np.concatenate(value).astype(kinds.get(key, np.float32)) for key, value in pieces.items()}


def repeating(size: int) -> int:
    """The next of 16 sizes an octave, so that sizes come again: `size` and at most a sixteenth more.

    A matrix product of a new size has a kernel compiled for it (oneDNN on CPU, where the last 1024 are kept at
    about 0.7 MB each; torch.compile on GPU), and buffers of ever new sizes fragment the heap.
    """
    step = 1 << max(0, size.bit_length() - 5)
    return -(-size // step) * step


def _lengthened(array: Array) -> Array:
    return np.pad(array, (0, repeating(len(array)) - len(array)))


def _zeros(row: TokenRow) -> Array:
    return np.zeros(len(row), np.float32)


def _packed_ids(rows: Sequence[TokenRow], places: Sequence[Place]) -> tuple[Array, Array, None]:
    order = sorted(range(len(rows)), key=lambda index: (places[index].start, index))
    kept = [(rows[index], places[index].shared) for index in order]
    ids = np.concatenate([row.ids[shared:] for row, shared in kept]).astype(np.int64)
    filling = np.arange(repeating(len(ids)) - len(ids))
    positions = np.concatenate([*(np.arange(shared, len(row)) for row, shared in kept), filling]).astype(np.int64)
    return _lengthened(ids)[None], positions[None], None


def _padded_ids(rows: Sequence[TokenRow]) -> tuple[Array, Array, Array]:
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row.ids
        mask[index, : len(row)] = 1
    positions = np.broadcast_to(np.arange(width), ids.shape).copy()
    return ids, positions, mask
