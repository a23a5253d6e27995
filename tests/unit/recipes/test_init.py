"""Laws of `init`, `schema`, the shipped recipes and the tokenizer verb: what we hand out works."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import bloomery

from bloomery.core.errors import InputError
from bloomery.core.resources import recipes_dir
from bloomery.recipes.checks import check_plan
from bloomery.recipes.explain import explain
from bloomery.recipes.init import QUESTIONS, write_recipe
from bloomery.recipes.json_schema import recipe_schema
from bloomery.recipes.load import load_recipe

from .conftest import CPU

SHIPPED = sorted(path.stem for path in recipes_dir().glob("*.yaml"))
DEFAULTS = {question.key: question.default for question in QUESTIONS}


def test_the_stories_are_shipped() -> None:
    assert {"demo", "continue", "sft", "lora", "own-data"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_resolves_and_is_refused_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_recipe(name)
    found = explain(loaded, CPU)
    assert found.plan is not None, found.problems
    if Path(found.plan.get("start.folder")).is_dir():
        assert check_plan(loaded, found.plan, CPU) == []


def test_five_questions_and_their_defaults_make_a_recipe_that_resolves(here: Path) -> None:
    assert len(QUESTIONS) == 5
    found = explain(load_recipe(write_recipe(here / "project", DEFAULTS)), CPU)
    assert found.plan is not None
    assert found.plan.get("family") == "ember"


def test_data_named_from_the_working_folder_is_found_from_the_recipes(here: Path) -> None:
    file = write_recipe(here / "project", DEFAULTS | {"family": "tiny", "data": "text.jsonl", "share": "30%"})
    found = explain(load_recipe(file), CPU)
    assert found.problems == ()
    model = write_recipe(here / "other", DEFAULTS | {"family": "families/weights", "data": "te*.jsonl"})
    assert explain(load_recipe(model), CPU).problems == ()


@pytest.mark.parametrize(
    ("answer", "says"),
    [({"family": "embr"}, "no family"), ({"share": "150%"}, "outside 0 to 100"), ({"budget": "2M"}, "no unit")],
)
def test_an_answer_that_cannot_work_writes_nothing(here: Path, answer: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        write_recipe(here / "project", DEFAULTS | answer)
    assert not (here / "project" / "recipe.yaml").exists()


def test_a_recipe_is_never_overwritten(here: Path) -> None:
    write_recipe(here / "project", DEFAULTS)
    with pytest.raises(InputError, match="a recipe here already"):
        write_recipe(here / "project", DEFAULTS)


def test_every_key_of_the_schema_has_a_description() -> None:
    schema = recipe_schema()
    sections = {"Recipe": schema, **schema["$defs"]}
    undescribed = [
        f"{name}.{key}"
        for name, section in sections.items()
        for whole in (section, *section.get("anyOf", ()))
        for key, value in whole.get("properties", {}).items()
        if not value.get("description")
    ]
    assert undescribed == []
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("budget", "counts"),
    [("1 epoch", "passes over your data; general data comes on top"), ("2M tokens", "general data included")],
)
def test_the_budgets_comment_says_what_it_counts(here: Path, budget: str, counts: str) -> None:
    text = write_recipe(here / "project", DEFAULTS | {"budget": budget}).read_text()
    assert f"budget: {budget}             # {counts}\n" in text


def test_data_that_is_not_there_is_said_and_names_with_spaces_are_quoted(here: Path) -> None:
    told = bloomery("init", "my project", "--data", "nothing.jsonl", "-y", within=here)
    assert told.status == 0 and "`path: nothing.jsonl` does not exist" in told.err
    assert "bloomery explain 'my project/recipe.yaml'\n      bloomery run 'my project/recipe.yaml'" in told.out
    assert "bloomery explain 'my project/recipe.yaml'" in (here / "my project" / "recipe.yaml").read_text()
    assert bloomery("init", "other", "--data", "text.jsonl", "-y", within=here).err == ""
