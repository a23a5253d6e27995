"""A step's rollouts made by several processes are those of one: the same answers, order, figures and failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attempts import task
from hypothesis import given, settings
from hypothesis import strategies as st
from together import together

from bloomery.core.errors import BloomeryError, InputError, TrainingError, Where
from bloomery.engine.protocol import Completion, Request
from bloomery.graders.payload import Metric, Sample, Score
from bloomery.rl.ahead import Stopped
from bloomery.rl.between import Groups
from bloomery.rl.config import RolloutSettings, StepSettings
from bloomery.rl.drift import Drift
from bloomery.rl.environments.near import Near
from bloomery.rl.inside import Inside
from bloomery.rl.plain import plain
from bloomery.rl.ranks import Across, Elsewhere, Whole
from bloomery.rl.rollouts import Task
from bloomery.rl.stepping import OUTAGE, Stepping

SETTINGS = RolloutSettings(group=3, max_tokens=4, seed=5)


class Speaker:
    """What it says follows from a request's seed and number alone; float32 that JSON has no short name for."""

    context = 64

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._one(one) for one in requests]

    def _one(self, request: Request) -> Completion:
        draw = np.random.default_rng([request.sampling.seed, request.number])
        ids = draw.integers(3, 90, draw.integers(1, 5)).tolist()
        logp = -draw.random(len(ids), np.float32)
        return Completion((*ids, 2), np.append(logp, np.float32(-1 / 3)), "stop" if len(ids) < 4 else "length", 0.1)


class Vowels:
    """A score of the answer's length, none for some; `verified` is False, as a judge's."""

    name, verified = "vowels", False

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        return [self._one(one, len(one.messages[-1]["content"])) for one in samples]

    def _one(self, sample: Sample, length: int) -> Score:
        if length % 7 == 0:
            return Score(sample.id, None, reason="lost")
        return Score(sample.id, 1 / length, (Metric("length", float(length), "Reward"),))


def inside(folder: Path | None = None, **changes: Any) -> Inside:
    drift = Drift(Vowels, folder, 2) if folder else None
    return Inside(Speaker(), Vowels(), replace(SETTINGS, **changes), lambda ids: " ".join(map(str, ids)), drift)


def tasks(count: int, again: int = 0) -> list[Task]:
    return [task(f"t{number}", again) for number in range(count)]


def across(inner: Any, size: int, rank: int, gather: Callable[[str], list[str]], makers: int | None = None) -> Across:
    return Across(inner, lambda version: None, rank, makers or size, gather)


def flat(groups: Groups) -> list[dict[str, Any]]:
    """All of a rollout: what is logged of it, and what training needs exactly."""
    return [one.told() | plain(one) | {"prompt": one.task.prompt.tolist()} for group in groups for one in group]


def untimed(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not name.endswith("_s")}


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 9), st.integers(0, 2))
def test_every_process_has_what_one_process_would_have_made(size: int, count: int, again: int) -> None:
    alone, _ = inside().collect(tasks(count, again), 7)
    found = together(size, lambda rank, gather: across(inside(), size, rank, gather).collect(tasks(count, again), 7))
    for one in found:
        assert not isinstance(one, BaseException), one
        assert flat(one[0]) == flat(alone) and {"sampling_s", "grading_s"} == set(one[1])


def test_a_judges_drift_is_asked_of_the_answers_of_all(tmp_path: Path) -> None:
    one = inside(tmp_path / "alone")
    alone = [one.collect(tasks(6), step)[1] for step in (0, 2)]

    def rank(number: int, gather: Callable[[str], list[str]]) -> list[dict[str, float]]:
        made = across(inside(tmp_path / "two" if number == 0 else None), 2, number, gather)
        return [made.collect(tasks(6), step)[1] for step in (0, 2)]

    first, second = together(2, rank)
    assert isinstance(first, list) and isinstance(second, list)
    assert [untimed(one) for one in first] == [untimed(one) for one in alone]
    assert untimed(first[1]) == {"judge_drift": 0.0, "judge_moved": 0.0} and untimed(second[1]) == {}
    assert (tmp_path / "two" / "judged.json").read_bytes() == (tmp_path / "alone" / "judged.json").read_bytes()


@dataclass
class Ending:
    """An environment that is over after two turns, worth what the last message is long; a row can make it fail."""

    turn: int = 0

    def reset(self, row: Any, seed: int) -> Any:
        self.fails, self.seed = row["id"] in ("t1", "all"), seed
        return None

    def step(self, message: Any) -> Any:
        self.turn += 1
        if self.fails:
            raise ValueError("it broke")
        said = [{"role": "user", "content": f"seed {self.seed}"}]
        return said, float(len(message["content"])), self.turn == 2, {"metrics": {"turns": self.turn}}


class Bridging:
    """Prompts that are every id so far and a number for what was said."""

    def opening(self, tree: Any, messages: Sequence[Any], offered: Sequence[Any]) -> Any:
        from bloomery.rl.bridge import Opening
        from bloomery.rl.turns import Place

        last = len(tree.turns) - 1 if tree.turns else None
        bridge = (7, len(messages))
        before = [*tree.turns[-1].bridge, *tree.turns[-1].sampled] if tree.turns else []
        return Opening(Place(last, "clean", tuple(messages[-1:])), "", bridge, [*before, *bridge])


def stepping() -> Stepping:
    bridge: Any = Bridging()
    decode = lambda ids: " ".join(map(str, ids))  # noqa: E731
    return Stepping(Speaker(), Near(Ending), bridge, SETTINGS, StepSettings(turns=3), decode)


def test_environments_of_several_turns_are_shared_out_as_well() -> None:
    alone, told = stepping().collect(tasks(5), 3)
    assert {len(one.tree.turns) for group in alone for one in group} == {1, 2}
    for one in together(3, lambda rank, gather: across(stepping(), 3, rank, gather).collect(tasks(5), 3)):
        assert not isinstance(one, BaseException), one
        assert flat(one[0]) == flat(alone) and untimed(one[1]) == pytest.approx(untimed(told))


def test_environments_that_failed_in_one_process_only_do_not_end_the_run_and_in_all_they_do() -> None:
    def rank(number: int, gather: Callable[[str], list[str]], names: list[str]) -> int:
        made = across(stepping(), 2, number, gather)
        for step in range(OUTAGE):
            made.collect([task(name) for name in names], step)
        return OUTAGE

    assert together(2, lambda number, gather: rank(number, gather, ["t1", "fine"])) == [OUTAGE] * 2
    for error in together(2, lambda number, gather: rank(number, gather, ["all", "all"])):
        assert isinstance(error, InputError) and "could be scored" in error.message


class Failing(Inside):
    """Raises what it is told."""

    raises: BaseException

    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> Any:
        raise self.raises


def failing(error: BaseException) -> Failing:
    made = Failing(Speaker(), Vowels(), SETTINGS, str)
    made.raises = error
    return made


@pytest.mark.parametrize("bad", [0, 1])
def test_what_one_process_raises_all_raise_in_the_same_words(bad: int) -> None:
    error = TrainingError("no score for 5 s", where=Where("runs/a"), fix="repair it")
    stops = [inside(), inside(), failing(Stopped())]
    stops[bad] = failing(error)
    for one in together(3, lambda rank, gather: across(stops[rank], 3, rank, gather).collect(tasks(3), 0)):
        assert isinstance(one, TrainingError) and str(one) == str(error), one
    stops[bad] = inside()
    for one in together(3, lambda rank, gather: across(stops[rank], 3, rank, gather).collect(tasks(3), 0)):
        assert isinstance(one, Stopped)
    stops[bad] = failing(BloomeryError("odd"))
    for one in together(3, lambda rank, gather: across(stops[rank], 3, rank, gather).collect(tasks(3), 0)):
        assert isinstance(one, BloomeryError) and one.exit_status == 1


def test_one_process_can_make_all_of_them_while_the_others_wait() -> None:
    def rank(number: int, gather: Callable[[str], list[str]]) -> Any:
        renewed: list[int] = []
        inner: Any = Elsewhere() if number else Whole(inside())
        made = Across(inner, renewed.append, number, 1, gather)
        made.restart(0)
        made.publish(4)
        groups, _ = made.collect(tasks(4), 4)
        made.stop()
        made.close()
        return flat(groups), renewed, made.between_turns

    alone = inside()
    alone.publish(4)
    expected = flat(alone.collect(tasks(4), 4)[0])
    assert together(3, rank) == [(expected, [4], False)] * 3
