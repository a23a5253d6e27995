"""The queue of steps that are collected before their turn: never staler than allowed, never out of order."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.rl.ahead import Ahead
from bloomery.rl.rollouts import Rollout, Task
from bloomery.train.job import StepRows


class Recording:
    """A collector that tells the version each step was begun with."""

    def __init__(self, between_turns: bool = False, fails: int = -1) -> None:
        self.between_turns, self.fails, self.version = between_turns, fails, -1
        self.stopped, self.most = threading.Event(), 0
        self.begun: list[int] = []
        self._running, self._lock = 0, threading.Lock()

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[list[list[Rollout]], dict[str, float]]:
        self.begun.append(step)
        if step == self.fails:
            raise ValueError(f"step {step}")
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
            version = self.version
        time.sleep(0.001 * (step % 3))
        with self._lock:
            self._running -= 1
        return [], {"version": float(version)}

    def publish(self, version: int) -> None:
        self.version = version

    def restart(self, step: int) -> None:
        raise AssertionError

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        raise AssertionError


def run(collector: Recording, depth: int, first: int, last: int) -> list[tuple[int, float]]:
    """(step, version that sampled it) in the order in which they are trained."""
    found = []
    with Ahead(collector, depth) as ahead:
        ahead.publish(first)
        drawn = ((StepRows(step, [], 0.0, {}), []) for step in range(first, last))
        for step, (_, told) in ahead.collected(drawn):
            found.append((step.step, told["version"]))
            ahead.publish(step.step + 1)
    return found


@given(st.integers(0, 5), st.integers(0, 9))
def test_each_step_is_sampled_by_the_weights_before_it_or_those_one_step_older(first: int, count: int) -> None:
    steps = range(first, first + count)
    assert run(Recording(), 0, first, first + count) == [(step, step) for step in steps]
    assert run(Recording(), 1, first, first + count) == [(step, max(first, step - 1)) for step in steps]


@given(st.integers(1, 4), st.integers(0, 9))
def test_orchestrators_get_so_many_steps_at_once_and_no_staler(depth: int, count: int) -> None:
    collector = Recording(between_turns=True)
    found = run(collector, depth, 0, count)
    assert [step for step, _ in found] == [*range(count)]
    assert all(step - version <= depth for step, version in found) and collector.most <= depth + 1


@pytest.mark.parametrize("depth", [0, 1])
def test_an_error_comes_where_its_step_is_wanted_and_ends_the_collecting(depth: int) -> None:
    collector = Recording(fails=2)
    with pytest.raises(ValueError, match="step 2"):
        run(collector, depth, 0, 9)
    assert collector.version >= 1 and collector.stopped.is_set() is (depth > 0)
    assert collector.begun == [0, 1, 2], "nobody waits for a step that comes after the one that failed"
