"""Advantages by hand: each kind on one small step."""

from __future__ import annotations

import numpy as np
import pytest

from bloomery.core.errors import InputError
from bloomery.rl.advantages import EPSILON, Running, fewest, judge, overlong

NAN = float("nan")
STEP = [np.array([1.0, 0.0, 0.0, NAN]), np.array([3.0, 1.0])]


def test_each_kind_on_one_step() -> None:
    def found(kind: str) -> list[list[float]]:
        return [values.tolist() for values in judge(STEP, kind).advantage]

    third, deviation = 1 / 3, (1 / 3) ** 0.5 + EPSILON
    assert found("mean") == [pytest.approx([2 * third, -third, -third, 0]), [1, -1]]
    assert found("std")[0] == pytest.approx([2 * third / deviation, -third / deviation, -third / deviation, 0])
    assert found("std")[1] == pytest.approx([1 / (2**0.5 + EPSILON), -1 / (2**0.5 + EPSILON)])
    assert found("leave_one_out") == [pytest.approx([1, -0.5, -0.5, 0]), [2, -2]]
    everyone = ((4 / 9 + 1 / 9 + 1 / 9 + 1 + 1) / 5) ** 0.5 + EPSILON
    assert found("batch_std")[0] == pytest.approx([2 * third / everyone, -third / everyone, -third / everyone, 0])
    assert found("batch_std")[1] == pytest.approx([1 / everyone, -1 / everyone])
    assert found("running") == [[0, -1, -1, 0], [2, 0]]  # the first step's own mean is 1


def test_a_running_baseline_is_of_the_steps_before() -> None:
    first = judge([np.array([1.0]), np.array([NAN]), np.array([0.0])], "running", Running(decay=0.5))
    assert [values.tolist() for values in first.advantage] == [[0.5], [0.0], [-0.5]]
    assert first.running == Running(0.5, 0.5) and first.dropped == 1 and first.level == 0
    second = judge([np.array([1.0])], "running", first.running)
    assert second.advantage[0].tolist() == [0.5] and second.running == Running(0.75, 0.5)
    nothing = judge([np.array([NAN])], "running", second.running)
    assert nothing.running == second.running and not nothing.trained[0].any()


def test_a_group_with_too_few_scores_is_dropped_and_counted() -> None:
    assert [fewest(size) for size in (1, 2, 3, 4, 5, 8, 16)] == [2, 2, 3, 3, 4, 6, 12]
    found = judge([np.array([1.0, 0.0, NAN, NAN]), np.array([1.0]), np.array([0.2, 0.2])])
    assert (found.dropped, found.level, found.unscored) == (2, 1, 2)
    assert [there.tolist() for there in found.trained] == [[False] * 4, [False], [True, True]]


def test_no_groups_are_no_error() -> None:
    assert judge([]).advantage == [] and judge([], "batch_std").dropped == 0


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"advantage: leave_on_out.*did you mean `leave_one_out`"):
        judge(STEP, "leave_on_out")


def test_the_last_tokens_before_the_limit_cost_evenly_more() -> None:
    assert [overlong(n, 100, 20) for n in (0, 80, 85, 90, 100, 101)] == [0, 0, -0.25, -0.5, -1, -1]
    assert [overlong(n, 100, 0) for n in (100, 101)] == [0, -1]
