"""Steps become trainings: each with its own keys, each but the last exported for the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.recipes.load import recipe_from
from bloomery.recipes.pipeline import starting_from, trainings

BASE = {"family": "ember", "data": {"domain": [{"builtin": "workflow-manual"}]}, "budget": "20k tokens", "name": "demo"}


def does(loaded) -> list[str]:  # type: ignore[no-untyped-def]
    return [step.do for step in loaded.recipe.steps]


def test_a_plain_recipe_is_one_training() -> None:
    loaded = recipe_from(BASE)
    assert trainings(loaded) == [loaded]


def test_a_later_training_has_its_own_keys_and_the_first_is_exported() -> None:
    second = {"do": "train", "name": "sft", "set": {"objective": "sft", "budget": "10k tokens"}}
    first, last = trainings(recipe_from({**BASE, "steps": ["train", "evaluate", second, "evaluate", "export"]}))
    assert does(first) == ["train", "evaluate", "export"] and does(last) == ["train", "evaluate", "export"]
    assert (first.name, last.name) == ("train", "demo")
    assert first.recipe.objective == "auto" and last.recipe.objective == "sft"
    assert last.recipe.budget is not None and last.recipe.budget.value == 10_000


def test_a_later_training_starts_from_the_run_before() -> None:
    assert starting_from(recipe_from(BASE), Path("runs/demo/steps/1-train")).recipe.start == "runs/demo/steps/1-train"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["evaluate", "train"], "must begin with `train`"),
        (["train", {"do": "export", "set": {"budget": "1k tokens"}}], "`set` on a step that does `export`"),
    ],
)
def test_steps_that_cannot_work_are_refused(steps: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainings(recipe_from({**BASE, "steps": steps}))
