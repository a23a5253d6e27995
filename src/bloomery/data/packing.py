"""Best-fit-decreasing packing: which rows share one stretch of a batch."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from bloomery.core.errors import InputError


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices into `lengths`; each bin's lengths sum to at most `capacity`, every index is in one bin.

    Longest first, each into the fullest bin that still takes it; equal lengths in index order, so the
    result depends on nothing but the arguments. O(n log n) comparisons. Best-fit decreasing never uses
    more than 11/9 of the fewest possible bins plus one (Johnson 1974). Raises `InputError` for a row
    longer than the capacity.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    if order and lengths[order[0]] > capacity:
        raise InputError(f"a row of {lengths[order[0]]:,} tokens does not fit into {capacity:,}")
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, bin), sorted
    for index in order:
        place = bisect_left(room, (lengths[index], -1))
        if place == len(room):
            bins.append([index])
            insort(room, (capacity - lengths[index], len(bins) - 1))
        else:
            left, number = room.pop(place)
            bins[number].append(index)
            insort(room, (left - lengths[index], number))
    return bins
