"""Whatever was scored and whatever failed: advantages are finite, balanced, and blind to what has no score."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bloomery.rl.advantages import ADVANTAGES, EPSILON, Running, fewest, judge, overlong

scores = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 0.1])
failed = st.sampled_from([float("nan"), float("inf"), -float("inf")])
groups = st.lists(st.lists(scores | failed, min_size=0, max_size=9).map(np.array), max_size=6)
kinds = st.sampled_from(sorted(ADVANTAGES))
runnings = st.builds(Running, st.none() | st.floats(-1e3, 1e3), st.floats(0.0, 1.0))


@given(groups, kinds, runnings)
def test_what_has_no_score_leaks_nowhere(rewards: list[np.ndarray], kind: str, running: Running) -> None:
    found = judge(rewards, kind, running)
    for given_, advantage, trained in zip(rewards, found.advantage, found.trained, strict=True):
        assert len(given_) == len(advantage) == len(trained)
        assert np.isfinite(advantage).all()
        assert (advantage[~trained] == 0).all()
        assert np.isfinite(given_[trained]).all()
    assert found.running.value is None or np.isfinite(found.running.value)
    assert found.unscored == sum((~np.isfinite(given_)).sum() for given_ in rewards)


@given(groups, kinds, runnings)
def test_a_rollout_without_a_score_counts_by_its_absence_alone(
    rewards: list[np.ndarray], kind: str, running: Running
) -> None:
    whole = judge(rewards, kind, running)
    left = [given_[there] for given_, there in zip(rewards, whole.trained, strict=True) if there.any()]
    without = judge(left, kind, running)
    assert without.dropped == without.unscored == 0 and without.level == whole.level
    assert without.running == whole.running
    those = [a[there] for a, there in zip(whole.advantage, whole.trained, strict=True) if there.any()]
    assert all(np.array_equal(one, other) for one, other in zip(those, without.advantage, strict=True))


@given(groups, st.sampled_from(["mean", "std", "leave_one_out", "batch_std"]))
def test_the_advantages_of_a_group_sum_to_nothing(rewards: list[np.ndarray], kind: str) -> None:
    found = judge(rewards, kind)
    for given_, advantage, trained in zip(rewards, found.advantage, found.trained, strict=True):
        if trained.any():
            # rounding is of the rewards' size, before a division by at least EPSILON
            size = np.abs(given_[trained]).max() / (1 if kind in ("mean", "leave_one_out") else EPSILON)
            rounding = 1e-12 + 1e-14 * size
            assert abs(advantage.sum()) <= len(advantage) * rounding


@given(groups, kinds)
def test_a_group_is_kept_from_three_quarters_and_two_on(rewards: list[np.ndarray], kind: str) -> None:
    found = judge(rewards, kind)
    enough = [np.isfinite(given_).sum() >= fewest(len(given_), kind) for given_ in rewards]
    assert [bool(trained.any()) for trained in found.trained] == enough
    assert found.dropped == enough.count(False)


@given(st.lists(scores, min_size=2, max_size=9), scores, st.sampled_from(["mean", "leave_one_out"]))
def test_the_same_more_for_everyone_is_no_advantage(rewards: list[float], more: float, kind: str) -> None:
    one, other = (judge([np.array(rewards) + shift], kind).advantage[0] for shift in (0.0, more))
    assert np.allclose(one, other, atol=1e-5)


@given(scores, st.integers(2, 9), st.sampled_from(["mean", "std", "leave_one_out", "batch_std"]))
def test_equal_scores_are_worth_exactly_nothing(reward: float, size: int, kind: str) -> None:
    found = judge([np.full(size, reward)], kind)
    assert not found.advantage[0].any() and found.level == 1 and found.trained[0].all()


@given(st.integers(0, 300), st.integers(0, 200), st.integers(0, 200))
def test_longer_is_never_better(length: int, longest: int, margin: int) -> None:
    here, next_ = (overlong(n, longest, margin) for n in (length, length + 1))
    assert -1 <= next_ <= here <= 0
    assert overlong(longest + 1, longest, margin) == -1
    assert margin > longest or overlong(longest - margin, longest, margin) == 0
