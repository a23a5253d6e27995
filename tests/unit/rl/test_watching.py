"""Held-out tasks are attempted every few steps, and nothing of them is trained on."""

from __future__ import annotations

import pytest
from attempts import Told, attempt, task

from bloomery.rl.resample import Resampling
from bloomery.rl.watching import AGAIN, Watching, held_figures


def test_held_out_tasks_give_figures_at_their_steps_and_no_rollouts() -> None:
    told = Told({"a": [1.0, 0.0], "held": [1.0, 0.0], "easy": [1.0, 1.0]})
    resampling = Resampling(told, lambda step, again, count: [task("a", again)] * count, 1)
    watching = Watching(resampling, told, [task("held", AGAIN), task("easy", AGAIN)], every=3, top=1.0)
    found = {step: watching.collect([task("a")], step) for step in range(4)}
    assert told.asked == [["a"], ["held", "easy"], ["a"], ["a"], ["a"], ["held", "easy"]]  # level, and not replaced
    assert all([group[0].task.group for group in groups] == ["a"] for groups, _ in found.values())
    assert found[3][1]["held_pass_1"] == 0.75 and "held_pass_1" not in found[1][1]
    assert found[0][1]["held_s"] == 1.0


def test_pass_at_k_is_right_once_in_all_answers() -> None:
    groups = [[attempt(1.0), attempt(0.0)], [attempt(0.0), attempt(0.0)], [attempt(None), attempt(None)]]
    assert held_figures(groups, 1.0) == pytest.approx(
        {"held_reward": 0.25, "held_pass_1": 0.25, "held_pass_k": 0.5, "held_k": 2.0}
    )
    assert held_figures(groups, None) == {"held_reward": 0.25}
    assert held_figures([[attempt(None)]], 1.0) == {}
