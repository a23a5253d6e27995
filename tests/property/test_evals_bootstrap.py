"""Laws of intervals and of the ledger, for any data."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bloomery.core.intervals import percentile
from bloomery.evals.bootstrap import resampled_sums
from bloomery.evals.ledger import Entry, ledger

LOADED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Holds on a machine that is busy with something else."""
unit = st.floats(0, 1)


@LOADED
@given(st.lists(st.tuples(unit, unit, st.sampled_from([0.0, 0.25, 0.5])), max_size=30))
def test_ledger_counts_add_up_and_mirror_when_the_models_are_swapped(rows: list[tuple[float, float, float]]) -> None:
    book = ledger([Entry(*row) for row in rows])
    back = ledger([Entry(after, before, chance) for before, after, chance in rows])
    assert book.examples == len(rows)
    assert (book.lost, book.gained, book.p_value) == (back.gained, back.lost, back.p_value)
    right = sum(before >= 0.5 for before, _, _ in rows)
    assert book.stayed_right + book.lost == right
    assert book.gained - book.lost == sum(after >= 0.5 for _, after, _ in rows) - right
    assert 0 <= book.lost_beyond_chance <= book.lost and 0 < book.p_value <= 1 and book.by_chance >= 0


@LOADED
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.integers(0, 5))
def test_resampled_sums_stay_within_what_documents_allow_and_repeat_by_seed(values: list[float], seed: int) -> None:
    columns = np.array([[v, 1.0] for v in values])
    sums = resampled_sums(columns, draws=200, seed=seed)
    n = len(values)
    assert np.allclose(sums[:, 1], n)
    assert sums[:, 0].min() >= n * min(values) - 1e-6 and sums[:, 0].max() <= n * max(values) + 1e-6
    assert np.array_equal(sums, resampled_sums(columns, draws=200, seed=seed))


@LOADED
@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=40), st.floats(0.5, 2))
def test_pairs_that_move_alike_have_no_interval_at_all(values: list[float], factor: float) -> None:
    columns = np.array([[v, v * factor] for v in values])
    sums = resampled_sums(columns, draws=100)
    found = percentile(factor - 1, sums[:, 1] / sums[:, 0] - 1)
    assert abs(found.high - found.low) < 1e-9 and abs(found.low - (factor - 1)) < 1e-9


def test_a_95_percent_interval_covers_the_truth_in_about_95_of_100_experiments() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        base = rng.gamma(4, 10, 150)
        columns = np.stack([base, base * rng.normal(1.01, 0.1, 150)], axis=1)
        sums = resampled_sums(columns, draws=400, seed=trial)
        found = percentile(0.0, sums[:, 1] / sums[:, 0] - 1)
        covered += found.low <= 0.01 <= found.high
    assert 0.90 <= covered / 300 <= 0.985


def test_blocks_do_not_change_what_a_large_set_draws_on_average() -> None:
    columns = np.ones((5000, 1))
    assert np.all(resampled_sums(columns, draws=1500) == 5000)  # more than one block
