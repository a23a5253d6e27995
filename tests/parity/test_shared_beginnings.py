"""Rows of a group that have their beginning once give the log-probabilities and gradients of whole rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from architectures import PACKED, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.rows import TokenRow
from bloomery.models.load import Loaded
from bloomery.models.pieces import Pieces
from bloomery.train.batch import common_beginning, make_micro_batch, split_step
from bloomery.train.module import TrainModule

CPU = torch.device("cpu")
GROUPS = ((12, (5, 1, 9)), (0, (7,)), (20, (3, 0, 30, 4)), (9, (2, 2)))
"""Common first tokens and what each row has beyond them."""


def rows_of(groups: tuple[tuple[int, tuple[int, ...]], ...], seed: int = 0) -> list[TokenRow]:
    """Rows by group, every token weighted, those of the beginning too."""
    draw = np.random.default_rng(seed)
    found = []
    for number, (common, own) in enumerate(groups):
        stem = draw.integers(3, 97, common)
        for each, length in enumerate(own):
            ids = np.concatenate([stem, draw.integers(3, 97, length)]).astype(np.int32)
            weight = draw.random(len(ids)).astype(np.float32)
            weight[0] = 0
            found.append(TokenRow(ids, {"ce": weight}, f"{number}:{each}", "s", "e", f"g{number}"))
    return found


def told(loaded: Loaded, rows: list[TokenRow], packing: str) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Log-probabilities, gradients of their weighted sum, and how many tokens were computed."""
    module = TrainModule(loaded)
    batch = make_micro_batch(rows, CPU, packing, rows[0])
    logp, _ = module.log_probabilities(batch)
    (logp * batch.weight["ce"]).sum().backward()
    gradients = {n: p.grad.clone() for n, p in loaded.model.named_parameters() if p.grad is not None}
    loaded.model.zero_grad()
    return logp.detach(), gradients, batch.input_ids.shape[1]


@pytest.mark.parametrize("architecture", PACKED)
def test_shared_rows_are_whole_rows_in_every_architecture(architecture: str) -> None:
    loaded, rows = tiny(architecture), rows_of(GROUPS)
    if not loaded.shares:
        pytest.skip("its embeddings turn by where a document begins")
    whole, their, many = told(loaded, rows, "packed")
    shared, ours, few = told(loaded, rows, "shared")
    real = sum(int(np.count_nonzero(row.weight["ce"])) for row in rows)
    assert few < 0.7 * many
    assert float((whole[:real] - shared[:real]).abs().max()) < 1e-4 * float(whole[:real].abs().max())
    assert ours.keys() == their.keys()
    for name, gradient in their.items():
        assert float((ours[name] - gradient).norm()) <= 2e-4 * float(gradient.norm()) + 1e-6, name


def test_only_what_turns_by_document_shares_nothing() -> None:
    assert [name for name in PACKED if not tiny(name).shares] == [
        name for name in PACKED if any(kind in name for kind in ("longrope", "dynamic"))
    ]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2"])
def test_beginnings_and_continuations_longer_than_a_tile(architecture: str) -> None:
    loaded = tiny(architecture)
    rows = rows_of(((300, (270, 40, 5, 290)), (11, (600, 12)), (40, tuple(range(1, 40)))), seed=1)
    whole, their, _ = told(loaded, rows, "packed")
    shared, ours, _ = told(loaded, rows, "shared")
    real = sum(int(np.count_nonzero(row.weight["ce"])) for row in rows)
    assert float((whole[:real] - shared[:real]).abs().max()) < 1e-4 * float(whole[:real].abs().max())
    for name, gradient in their.items():
        assert float((ours[name] - gradient).norm()) <= 5e-4 * float(gradient.norm()) + 1e-6, name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.integers(0, 12), min_size=1, max_size=5)), min_size=1, max_size=6
    ),
    st.integers(40, 200),
    st.integers(1, 3),
)
def test_every_token_of_every_row_is_where_its_place_says(
    groups: list[tuple[int, list[int]]], capacity: int, ranks: int
) -> None:
    rows = rows_of(tuple((max(2, common), tuple(own)) for common, own in groups))
    split = split_step(rows, capacity, ranks, "shared")
    assert sorted(i for rank in split for pack in rank for i in pack) == list(range(len(rows)))
    for pack in (pack for rank in split for pack in rank if pack):
        chosen = [rows[i] for i in pack]
        batch = make_micro_batch(chosen, CPU, "shared", rows[0])
        starts = batch.bounds.starts if isinstance(batch.bounds, Pieces) else batch.bounds
        assert starts is not None and all(a < b for a, b in pairwise(starts)) and starts[-1] == batch.input_ids.shape[1]
        wanted = [(row.ids[t - 1], t - 1, row.ids[t]) for row in chosen for t in np.flatnonzero(row.weight["ce"])]
        at = batch.at[: len(wanted)]
        found = zip(
            batch.input_ids[0, at].tolist(),
            batch.position_ids[0, at].tolist(),
            batch.targets[: len(wanted)].tolist(),
            strict=True,
        )
        assert list(found) == [tuple(map(int, one)) for one in wanted]


def test_a_beginning_too_short_to_pay_is_not_shared() -> None:
    rows = rows_of(((3, (5, 5)),))
    assert common_beginning(rows) == 0
    assert isinstance(make_micro_batch(rows, CPU, "shared", rows[0]).bounds, tuple)
