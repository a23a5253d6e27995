"""Rewards in a recipe: what cannot work is refused by key and line, and what is planned is what will be trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.recipes.configure import train_config
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded

from .conftest import CPU, rows

Load = Callable[..., Loaded]
RECIPE = """\
family: tiny
objective: rl
data: {domain: asks.jsonl, share: 50%}
reward: {type: regex, pattern: a}
budget: 4 steps
rollouts:
"""


@pytest.fixture(autouse=True)
def written(here: Path) -> None:
    rows(here / "asks.jsonl", [{"prompt": f"what is {i}", "response": f"a {i}"} for i in range(300)])


@pytest.mark.parametrize(
    ("told", "line", "said"),
    [
        ("  group: 4\n  correct: 0.5\n", 8, "`rollouts.correct: 0.5` caps a weight that is 1"),
        ("  temperature: 0\n", 7, "`rollouts.temperature: 0`"),
        ("  clip_low: 1.5\n", 7, "`rollouts.clip_low: 1.5`"),
        ("  max_tokens: 8\n  overlong_buffer: 9\n", 6, "is more than `max_tokens: 8`"),
        ("  resample: 2\n  advantage: running\n", 6, "compares no groups"),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(recipe: Load, told: str, line: int, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        recipe(RECIPE + told)
    assert caught.value.where is not None and caught.value.where.line == line


def test_memory_is_planned_for_the_answers_not_for_the_blend(recipe: Load) -> None:
    short, long = (
        explain(recipe(f"{RECIPE}  {{group: 8, tasks: 4, max_tokens: {tokens}}}\n"), CPU).plan for tokens in (8, 96)
    )
    assert short is not None and long is not None
    assert short.get("optim.batch_tokens") == long.get("optim.batch_tokens")
    assert long.get("memory.micro_tokens") > 4 * 8 * 96 > short.get("memory.micro_tokens")


def test_the_trainer_is_told_the_temperature_of_the_sampler(recipe: Load) -> None:
    plan = explain(recipe(f"{RECIPE}  temperature: 0.7\n"), CPU).plan
    assert plan is not None and train_config(plan).optim.policy.temperature == 0.7


def test_the_start_beside_the_policy_is_counted_and_adapters_need_none(recipe: Load) -> None:
    told = [f"{RECIPE}  {{kl: {kl}}}\nmethod: {method}\n" for method in ("full", "lora") for kl in (0, 0.1)]
    plain, beside, adapted, off = (explain(recipe(one), CPU).memory for one in told)
    assert plain is not None and beside is not None and adapted is not None and off is not None
    assert beside.weights > 1.2 * plain.weights and adapted.weights == off.weights
