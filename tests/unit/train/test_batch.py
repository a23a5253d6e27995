"""Splitting a step loses nothing, and targets stand where they are predicted."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import toy_row, toy_rows

from bloomery.core.rows import PARTS, TokenRow
from bloomery.train.batch import denominators, make_micro_batch, read_tokens, repeating, split_step

CPU = torch.device("cpu")


@given(st.lists(st.integers(2, 60), min_size=1, max_size=30), st.integers(10, 200), st.integers(1, 5))
def test_split_gives_every_row_once_and_ranks_equal_counts(lengths: list[int], capacity: int, ranks: int) -> None:
    rows = [toy_row(str(i), n, i) for i, n in enumerate(lengths)]
    split = split_step(rows, capacity, ranks)
    assert sorted(i for rank in split for pack in rank for i in pack) == list(range(len(rows)))
    assert len({len(rank) for rank in split}) == 1
    assert all(sum(lengths[i] for i in pack) <= max(capacity, *lengths) for rank in split for pack in rank)


def test_rows_of_one_group_share_a_micro_batch() -> None:
    rows = [TokenRow(toy_row(str(i), 30, i).ids, {}, str(i), "s", str(i), group_id=f"g{i % 3}") for i in range(9)]
    for pack in (p for rank in split_step(rows, 60, 2) for p in rank if p):
        assert {i % 3 for i in pack} and len(pack) % 3 == 0


@given(st.integers(0, 30), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_what_a_group_begins_with_is_read_once(common: int, ends: list[int]) -> None:
    start = np.arange(common)
    rows = [
        TokenRow(np.concatenate([start, 100 + 10 * i + np.arange(n)]).astype(np.int32), {}, str(i), "s", str(i), "g")
        for i, n in enumerate(ends)
    ]
    shared = common if common >= 8 else 0
    assert read_tokens(rows, "packed") == common * len(rows) + sum(ends)
    assert read_tokens(rows, "shared") == common * len(rows) + sum(ends) - shared * (len(rows) - 1)


def test_packed_and_padded_predict_the_same_tokens() -> None:
    rows = toy_rows(3)
    packed, padded = (make_micro_batch(rows, CPU, kind, rows[0]) for kind in ("packed", "padded"))
    assert torch.equal(packed.targets, padded.targets)
    for batch in (packed, padded):
        real = batch.weight["ce"] > 0
        assert torch.equal(batch.input_ids.flatten()[batch.at + 1][real], batch.targets[real])
        assert int(real.sum()) == sum(row.trained("ce") for row in rows)


@given(st.integers(0, 100_000))
def test_sizes_come_again_at_the_cost_of_a_sixteenth(size: int) -> None:
    rounded = repeating(size)
    assert size <= rounded <= size * 17 / 16 and repeating(rounded) == rounded
    assert len({repeating(n) for n in range(size, 2 * size)}) <= 17 or size < 16


def test_what_rounding_adds_is_a_document_of_its_own_without_weight() -> None:
    row = toy_row("r", 175, 1)
    batch = make_micro_batch([row], CPU, "packed", row)
    assert batch.bounds == (0, 175, 176) and batch.input_ids.shape == (1, 176)
    assert float(batch.weight["ce"].sum()) == 174 == int((batch.weight["ce"] > 0).sum())
    assert batch.position_ids[0, -1] == 0


def test_unweighted_tokens_are_not_targets() -> None:
    weight = np.array([0, 0, 1, 0, 2], np.float32)
    row = TokenRow(np.arange(5, dtype=np.int32), {"ce": weight}, "r", "s", "e")
    batch = make_micro_batch([row], CPU, "packed", row)
    assert batch.targets.tolist() == [2, 4] and batch.at.tolist() == [1, 3]
    assert batch.weight["ce"].tolist() == [1, 2] and denominators([row]) == {"ce": 3.0}


def test_an_empty_micro_batch_carries_weight_in_no_part_of_a_loss() -> None:
    batch = make_micro_batch([], CPU, "packed", toy_rows(0)[0])
    assert not set(batch.weight) & set(PARTS) and batch.input_ids.shape == (1, 2)
