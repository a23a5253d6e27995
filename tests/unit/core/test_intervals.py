"""Intervals of shares against published values, and what every one of them must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.core.intervals import Interval, binomial_tail, clopper_pearson, percentile, wilson

NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]
"""(hits, count, Wilson's, Clopper and Pearson's) of R. G. Newcombe, Stat. Med. 17 (1998), table I, methods 3 and 5."""


@pytest.mark.parametrize(("hits", "count", "score", "exact"), NEWCOMBE)
def test_intervals_of_shares_are_those_of_the_tables(
    hits: int, count: int, score: tuple[float, float], exact: tuple[float, float]
) -> None:
    for found, wanted in ((wilson(hits, count), score), (clopper_pearson(hits, count), exact)):
        assert (found.low, found.high) == pytest.approx(wanted, abs=5e-5)
        assert found.estimate == hits / count


def test_no_hit_and_nothing_but_hits_are_mirrored() -> None:
    for of in (wilson, clopper_pearson):
        none, every = of(0, 12), of(12, 12)
        assert (none.low, every.high) == (0.0, 1.0)
        assert none.high == pytest.approx(1 - every.low)
    assert clopper_pearson(0, 100).high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_no_rows_bound_nothing() -> None:
    for of in (wilson, clopper_pearson):
        found = of(0, 0)
        assert (found.low, found.high) == (0.0, 1.0) and math.isnan(found.estimate)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_each_bound_is_the_rate_at_which_so_few_or_so_many_are_one_in_forty(share: tuple[int, int]) -> None:
    hits, count = share
    found = clopper_pearson(hits, count)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    if hits < count:
        assert binomial_tail(hits, count, found.high) == pytest.approx(0.025, rel=1e-6)
    if hits > 0:
        assert 1 - binomial_tail(hits - 1, count, found.low) == pytest.approx(0.025, rel=1e-6)


def test_a_binomial_tail_is_a_sum_of_its_terms() -> None:
    assert binomial_tail(0, 10, 0.5) == pytest.approx(0.5**10)
    assert binomial_tail(10, 10, 0.3) == pytest.approx(1.0)
    assert binomial_tail(3, 12, 0.2) == pytest.approx(
        sum(math.comb(12, k) * 0.2**k * 0.8 ** (12 - k) for k in range(4))
    )
    assert 0 < binomial_tail(2, 20_000, 0.01) < 1e-50


def test_percentiles_leave_out_what_is_no_number() -> None:
    found = percentile(0.5, np.array([math.nan, *np.linspace(0, 1, 201)]))
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    assert math.isnan(percentile(0.5, np.array([math.nan])).low)
    assert Interval(1.0, 0.5, 2.0).scaled(-2) == Interval(-2.0, -4.0, -1.0)
