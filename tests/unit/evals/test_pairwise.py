"""Judged pairs: both orders, ties, position, strengths and their bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.evals.pairwise import Pair, battles, bradley_terry, tournament, win_rates

ROWS = [{"id": str(n), "prompt": f"question {n}"} for n in range(40)]


def longer(pairs: Sequence[Pair]) -> list[float | None]:
    """A judge that likes the longer answer."""
    return [0.5 if len(p.first) == len(p.second) else float(len(p.first) > len(p.second)) for p in pairs]


def first(pairs: Sequence[Pair]) -> list[float | None]:
    """A judge that likes whatever it is shown first."""
    return [1.0 for _ in pairs]


def test_the_better_model_wins_and_the_bounds_hold_the_rate() -> None:
    answers = {"a": ["xxx"] * 40, "b": ["x" * (1 + n % 4) for n in range(40)], "c": ["x"] * 40}
    found = tournament(ROWS, answers, longer)
    rates = {one.model: one.win_rate for one in found.standings}
    assert rates["a"].estimate > rates["b"].estimate > rates["c"].estimate
    assert all(one.low <= one.estimate <= one.high for one in rates.values())
    assert sum(one.estimate for one in rates.values()) == pytest.approx(1.5)
    assert found.position_bias.estimate == found.swapped == 0


def test_a_judge_that_goes_by_position_gives_ties_and_is_found_out() -> None:
    found = tournament(ROWS, {"a": ["x"] * 40, "b": ["xxx"] * 40}, first)
    assert [one.win_rate.estimate for one in found.standings] == pytest.approx([0.5, 0.5])
    assert found.standings[0].ties == 40
    assert found.position_bias.estimate == 0.5
    assert found.swapped == 1.0


def test_a_pair_without_a_verdict_in_one_order_is_left_out_and_counted() -> None:
    def ask(pairs: Sequence[Pair]) -> list[float | None]:
        return [None if p.number == 3 and p.first == "x" else 1.0 for p in pairs]

    found, unjudged = battles(ROWS, {"a": ["x"] * 40, "b": ["y"] * 40}, ask)
    assert (len(found), unjudged) == (39, 1)
    with pytest.raises(InputError, match="none of the 40 pairs could be judged"):
        tournament(ROWS, {"a": ["x"] * 40, "b": ["y"] * 40}, lambda pairs: [None] * len(pairs))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=5))
def test_strengths_that_made_the_games_are_found_again(strengths: list[float]) -> None:
    wanted = np.array(strengths) - np.mean(strengths)
    beats = 1 / (1 + np.exp(wanted[None, :] - wanted[:, None]))
    games = 1e6 * beats * (1 - np.eye(len(wanted)))
    assert bradley_terry(games) == pytest.approx(wanted, abs=1e-3)


def test_a_model_that_never_loses_has_a_finite_strength() -> None:
    rates = win_rates(np.array([[0.0, 50.0], [0.0, 0.0]]))
    assert 0.98 < rates[0] < 1


def test_one_model_or_answers_that_are_missing_are_refused() -> None:
    with pytest.raises(InputError, match="one model cannot be compared"):
        battles(ROWS, {"a": ["x"] * 40}, first)
    with pytest.raises(InputError, match="`b` has 1 answers to 40 prompts"):
        battles(ROWS, {"a": ["x"] * 40, "b": ["x"]}, first)
