"""Packing and cutting lose no token, whatever the lengths."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.data.packing import best_fit
from bloomery.data.rows import RowTable

LENGTHS = st.lists(st.integers(1, 50), max_size=120)


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, spare=st.integers(0, 60))
def test_every_row_is_in_exactly_one_pack_and_none_overflows(lengths: list[int], spare: int) -> None:
    capacity = max(lengths, default=1) + spare
    packs = best_fit(lengths, capacity)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in pack) <= capacity for pack in packs)
    assert packs == best_fit(lengths, capacity)


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS.filter(len))
def test_packs_are_at_most_eleven_ninths_of_the_least_possible(lengths: list[int]) -> None:
    least = -(-sum(lengths) // 50)
    fullest = sum(sorted(lengths)[-2:]) > 50
    assert len(best_fit(lengths, 50)) <= max(11 / 9 * max(least, sum(n > 25 for n in lengths)) + 1, 1 + fullest)


def test_a_row_longer_than_the_capacity_is_refused() -> None:
    with pytest.raises(InputError, match="a row of 9 tokens does not fit into 8"):
        best_fit([1, 9], 8)


@dataclass
class Documents:
    """A store with nothing but lengths, for cutting."""

    lengths: np.ndarray
    name: str = "toy"
    shape: str = "text"
    seen: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def n_docs(self) -> int:
        return len(self.lengths)


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60), context=st.integers(1, 64))
def test_splitting_covers_each_document_once_without_gap(lengths: list[int], context: int) -> None:
    table = RowTable(Documents(np.array(lengths)), context, "split")  # type: ignore[arg-type]
    assert table.n_tokens == sum(lengths) and int(table.lengths.max()) <= context and int(table.lengths.min()) >= 1
    for doc, length in enumerate(lengths):
        mine = table.documents() == doc
        starts, sizes = table._starts[mine], table.lengths[mine]
        assert starts.tolist() == [0, *np.cumsum(sizes)[:-1].tolist()] and int(sizes.sum()) == length


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 100), min_size=1, max_size=60), policy=st.sampled_from(["drop", "truncate"]))
def test_what_is_dropped_or_cut_is_counted_to_the_token(lengths: list[int], policy: str) -> None:
    context = max(50, min(lengths))
    table = RowTable(Documents(np.array(lengths)), context, policy, drop_limit=1.0)  # type: ignore[arg-type]
    assert table.n_tokens + table.cuts.dropped_tokens + table.cuts.truncated_tokens == sum(lengths)
    assert table.n_rows + table.cuts.dropped == len(lengths)
