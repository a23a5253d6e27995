"""Groups without difference make room for new tasks: a bounded number of times, and the same ones after a crash."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attempts import Told, attempt, task

from bloomery.rl.config import RolloutSettings
from bloomery.rl.resample import Resampling, without_difference
from bloomery.rl.rollouts import Rollout, Task, rewards, too_long


def fresh(step: int, again: int, count: int) -> list[Task]:
    return [task(f"{step}.{again}.{n}", again) for n in range(count)]


def test_level_groups_are_followed_by_new_tasks_until_there_is_a_difference() -> None:
    told = Told({"a": [1.0, 0.0], "b": [0.0, 0.0], "c": [1.0, 1.0], "7.1.0": [0.0, 1.0]})
    groups, spent = Resampling(told, fresh, 3).collect([task(name) for name in "abc"], 7)
    assert told.asked == [["a", "b", "c"], ["7.1.0", "7.1.1"], ["7.2.0"], ["7.3.0"]]
    assert [group[0].task.group for group in groups] == ["a", "b", "c", "7.1.0", "7.1.1", "7.2.0", "7.3.0"]
    assert spent == {"sampling_s": 4.0, "resampled_groups": 4.0}


def test_shares_stay_shares_of_all_rollouts_of_the_step() -> None:
    class Shares(Told):
        def collect(self, tasks: Sequence[Task], step: int) -> tuple[list[list[Rollout]], dict[str, float]]:
            groups, spent = Told.collect(self, tasks, step)
            return groups, spent | ({"stopped/turns": 1.0} if len(self.asked) == 1 else {"stopped/tokens": 0.5})

    told = Shares({"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0], "7.1.0": [0.0, 1.0]})
    _, spent = Resampling(told, fresh, 3).collect([task(name) for name in "abc"], 7)
    assert spent == {"sampling_s": 2.0, "stopped/turns": 0.75, "stopped/tokens": 0.125, "resampled_groups": 1.0}


def test_nothing_is_asked_again_where_all_groups_differ_or_nothing_was_scored() -> None:
    told = Told({"a": [1.0, 0.0], "b": [None, None]})
    groups, spent = Resampling(told, fresh, 3).collect([task("a"), task("b")], 0)
    assert len(told.asked) == 1 and len(groups) == 2 and spent["resampled_groups"] == 0
    assert not without_difference([attempt(None), attempt(1.0)]) and without_difference([attempt(1.0)] * 2)


def test_it_ends_where_there_are_no_more_tasks() -> None:
    told = Told({})
    groups, _ = Resampling(told, lambda step, again, count: [], 3).collect([task("a")], 0)
    assert len(groups) == 1


def test_a_long_answer_loses_reward_over_the_last_tokens_only() -> None:
    settings = RolloutSettings(max_tokens=10, overlong_buffer=4)
    found = [too_long(attempt(1.0, length).tree, settings) for length in (5, 6, 8, 10)]
    assert found == [0.0, 0.0, -0.5, -1.0]
    assert too_long(attempt(1.0, 10).tree, RolloutSettings(max_tokens=10)) == 0.0
    shaped = attempt(1.0, 8, penalty=-0.5)
    assert rewards([[shaped, attempt(None), attempt(1.0, why="cut off")]])[0] == pytest.approx(
        [0.5, float("nan"), float("nan")], nan_ok=True
    )
    assert shaped.told()["reward"] == 1.0 and shaped.told()["penalty"] == -0.5
