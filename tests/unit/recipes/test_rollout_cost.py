"""What `explain` takes rollouts to cost: by the rows' own answers, or by what a run from this start measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bloomery.recipes.counts import cache_dir, remember_rollouts
from bloomery.recipes.explain import explain
from bloomery.recipes.going import cost_of
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan
from bloomery.recipes.sample import sample_source

from .conftest import CPU, rows

Load = Callable[..., Loaded]
RECIPE = """\
family: tiny
start: chat
objective: rl
data: {domain: asks.jsonl, share: 50%}
budget: 50 steps
"""
REWARD = "reward: {type: regex, pattern: a}\n"


def cost(loaded: Loaded) -> tuple[float, str]:
    """Seconds, and what is said of the rollouts."""
    found = explain(loaded, CPU)
    assert found.seconds is not None
    return found.seconds, next(line for line in found.notes if line.startswith("a rollout is taken"))


def asks(here: Path, **answer: str) -> None:
    rows(here / "asks.jsonl", [{"prompt": f"What is the number after {n}, in words?"} | answer for n in range(300)])


def test_answers_are_as_long_as_those_of_the_rows_and_never_longer_than_they_may(recipe: Load, here: Path) -> None:
    asks(here, response="four " * 16)
    short, said = cost(recipe(RECIPE + REWARD + "rollouts: {max_tokens: 90}\n"))
    assert "21 sampled tokens, as the rows' own answers have" in said
    assert cost(recipe(RECIPE + REWARD + "rollouts: {max_tokens: 60}\n"))[0] == short  # they end before either
    bounded, said = cost(recipe(RECIPE + REWARD + "rollouts: {max_tokens: 7}\n"))
    assert bounded < short and "7 sampled tokens" in said
    _, said = cost(recipe(RECIPE + "rollouts: {max_tokens: 9, environment: {type: guess, turns: 4}}\n"))
    assert "36 sampled tokens, as many as it may" in said
    asks(here)
    most, said = cost(recipe(RECIPE + REWARD + "rollouts: {max_tokens: 90}\n"))
    assert most > 2 * short and "90 sampled tokens, as many as it may" in said


def test_what_a_conversation_asks_last_is_no_answer(here: Path) -> None:
    asked = {"role": "user", "content": "a long question " * 9}
    said = {"role": "assistant", "content": "yes"}
    rows(here / "talks.jsonl", [{"messages": talk} for talk in ([asked, said], [asked], [asked, said, asked])])
    assert sample_source({"path": str(here / "talks.jsonl")}, here).answers == ("yes",)


def test_what_a_run_measured_is_taken_the_next_time_on_such_a_machine(recipe: Load, here: Path) -> None:
    asks(here, response="four " * 16)
    loaded = recipe(RECIPE + REWARD + "rollouts: {max_tokens: 60, tasks: 4}\n")
    guessed, _ = cost(loaded)
    remember_rollouts(plan_of(loaded), CPU.name, (12.0, 0.25), cache_dir())
    found, said = cost(loaded)
    assert "12 sampled tokens, as the start gave in the last run" in said
    assert found < guessed  # what is computed here is told by its tokens
    remember_rollouts(plan_of(loaded), "another machine", (90.0, 9.0), cache_dir())
    assert cost(loaded) == (found, said)
    other = recipe(RECIPE + REWARD + "rollouts: {max_tokens: 59, tasks: 4}\n")
    assert "as the rows" in cost(other)[1]


def test_what_waits_for_others_takes_the_least_time_that_was_measured(recipe: Load, here: Path) -> None:
    asks(here)
    loaded = recipe(RECIPE + "rollouts: {max_tokens: 60, tasks: 4, environment: {type: guess}}\n")
    guessed, _ = cost(loaded)
    for seconds in (0.5, 0.25, 0.75):
        remember_rollouts(plan_of(loaded), CPU.name, (12.0, seconds), cache_dir())
    found, _ = cost(loaded)
    least = 50 * 4 * 8 * 0.25
    assert guessed < least < found < 2 * least


def plan_of(loaded: Loaded) -> Plan:
    plan = explain(loaded, CPU).plan
    assert plan is not None
    return plan


def test_a_rollout_costs_what_its_sampling_and_its_grading_took() -> None:
    def group(*tokens: int) -> list[Any]:
        return [SimpleNamespace(tree=SimpleNamespace(sampled_tokens=count)) for count in tokens]

    spent = {"sampling_s": 2.0, "grading_s": 1.0, "stopped/turns": 0.5}
    assert cost_of([group(10, 20), group(0, 30)], spent) == (15.0, pytest.approx(0.75))
    assert cost_of([group(0, 0)], spent) is None and cost_of([], spent) is None
