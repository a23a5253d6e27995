"""Rows of keys and values: whatever comes and goes, each request keeps its own, and the answering ones stand first."""

from __future__ import annotations

import torch
from engines import SHAPES, TOKEN, write
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.engine.slots import Slab, Slot, Slots, copy


def holds(slot: Slot, mark: int) -> bool:
    return all(
        bool((keys[slot.row, :, : slot.length] == mark).all() and (values[slot.row, :, : slot.length] == mark).all())
        for keys, values in slot.slab.layers.values()
    )


def numbers(slab: Slab) -> bool:
    """Whether what masked products read of the answering rows are numbers."""
    return all(bool(values[: slab.ready].isfinite().all()) for _, values in slab.layers.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["take", "ready", "give"]), st.integers(0, 200)), max_size=60))
def test_rows_keep_what_is_theirs_and_answering_ones_stand_first(moves: list[tuple[str, int]]) -> None:
    slots = Slots(SHAPES, 64 * 9 * TOKEN, torch.device("cpu"))
    live: dict[int, tuple[Slot, bool]] = {}
    seen: list[Slab] = []
    for number, (move, size) in enumerate(moves, 1):
        if move == "take":
            slot = slots.take(size)
            if slot is not None:
                if slot.slab not in seen:
                    seen.append(slot.slab)
                    for _, values in slot.slab.memory.values():
                        values.fill_(torch.nan)  # as fresh memory may be
                write(slot, number, size)
                live[number] = (slot, False)
        elif live:
            key = sorted(live)[size % len(live)]
            slot, ready = live[key]
            if move == "give":
                slots.give(slot)
                del live[key]
            elif not ready:
                slots.ready(slot)
                live[key] = (slot, True)
            else:  # it answers, and grows
                write(slot, key, min(slot.length + size % 40, slot.slab.size))
        assert slots.used <= slots.held <= slots.budget
        assert all(holds(slot, key) for key, (slot, _) in live.items())
        assert all(numbers(slab) and slab.width <= slab.size for slab in seen)
        for slot, ready in live.values():
            assert slot.slab.live[slot.row] is slot and ready == (slot.row < slot.slab.ready)
    assert sum(len(slab.live) for slab in slots.slabs) == len(live)


def test_the_budget_bounds_what_is_taken_and_empty_slabs_make_room() -> None:
    slots = Slots(SHAPES, 64 * 2 * TOKEN, torch.device("cpu"))
    one, two = slots.take(64), slots.take(10)
    assert one is not None and two is not None and slots.take(1) is None
    assert slots.fits(128) and not slots.fits(129)
    slots.give(one)
    assert slots.take(65) is None  # the other row still holds its slab
    slots.give(two)
    assert slots.take(65) is not None


def test_a_prefix_is_copied_and_nothing_behind_it() -> None:
    slots = Slots(SHAPES, 64 * 4 * TOKEN, torch.device("cpu"))
    source, target = slots.take(20), slots.take(20)
    assert source is not None and target is not None
    write(source, 7, 20)
    copy(source, target, 5)
    target.length = 5
    assert holds(target, 7)
    target.length = 6
    assert not holds(target, 7)
