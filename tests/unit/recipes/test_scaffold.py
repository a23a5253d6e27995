"""An empty model by one dial in a recipe: all that is derived is in the plan with why; what makes none is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.families.registry import load_family
from bloomery.families.scaffold import scaffold
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan
from bloomery.recipes.resolve import resolve
from bloomery.recipes.start import start_of

from .conftest import CPU

Load = Callable[..., Loaded]
RECIPE = "start: scaffold\nscaffold: {shape: qwen3, depth: 3}\ndata: {domain: text.jsonl}\n"


def test_every_derived_value_is_in_the_plan_with_its_reason(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE))
    made = scaffold("qwen3", 4096, depth=3)
    for name, one in made.values.items():
        value = plan.values[f"scaffold.{name}"]
        assert (value.value, value.why) == (one.value, one.why)
        assert value.why
    assert plan.origin("scaffold.depth") == plan.origin("scaffold.shape") == "user"
    assert plan.get("start.kind") == "scaffold"
    assert plan.get("context") == made["context"]


def test_a_budget_left_out_is_the_horizon_and_batch_and_rate_are_those_for_the_size(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE))
    assert plan.get("budget.tokens") == plan.get("scaffold.horizon") == 20 * plan.get("start.parameters")
    assert plan.get("optim.batch_tokens") == plan.get("scaffold.batch_tokens")
    assert plan.get("schedule.lr") == plan.get("scaffold.peak_lr")
    assert (plan.get("schedule.kind"), plan.get("schedule.warmup")) == ("linear", plan.get("scaffold.warmup"))


def test_a_smaller_batch_lowers_the_peak_by_its_square_root(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE, "budget=1M tokens"))
    part = plan.get("optim.batch_tokens") / plan.get("scaffold.batch_tokens")
    assert part < 1
    assert plan.get("schedule.lr") == pytest.approx(plan.get("scaffold.peak_lr") * part**0.5, rel=1e-5)


def test_the_context_is_the_recipes(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE, "data.context=96"))
    assert plan.get("context") == plan.get("start.configuration")["max_position_embeddings"] == 96


def test_a_family_beside_it_lends_tokenizer_and_curated_data(recipe: Load) -> None:
    plan = resolve(recipe("family: ember\nstart: scaffold\nscaffold: {depth: 2}\nbudget: 100k tokens\n"))
    assert plan.get("curated.mix") == load_family("ember").mix_name("scaffold")
    assert Path(plan.get("start.tokenizer")) == families_dir().resolve() / "ember" / "tokenizer"
    assert plan.get("scaffold.vocabulary") == 4096
    assert [suite["role"] for suite in plan.get("eval.suites")].count("general") == 1


def test_a_size_is_met_by_the_nearest_depth(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE, "scaffold={parameters: 5M}"))
    assert plan.get("scaffold.depth") == 4
    assert plan.origin("scaffold.depth") == plan.origin("scaffold.parameters") == "derived"
    assert "5,000,000 parameters" in plan.values["scaffold.depth"].why


def test_the_plan_read_back_builds_the_same_model(recipe: Load, tmp_path: Path) -> None:
    plan = resolve(recipe(RECIPE))
    plan.write(tmp_path / "plan.json")
    again = start_of(Plan.read(tmp_path / "plan.json"))
    assert again.config() == plan.get("start.configuration")
    assert again.config()["num_hidden_layers"] == 3


def test_explain_knows_memory_and_time_and_refuses_nothing(recipe: Load) -> None:
    found = explain(recipe(RECIPE, "budget=20k tokens", "data.repetition_cap=1e6"), CPU)
    assert found.problems == () and found.plan is not None
    assert found.memory is not None and found.seconds is not None
    assert found.memory.weights == pytest.approx(4 * found.plan.get("start.parameters"), rel=1e-3)


def test_a_second_training_of_the_recipe_continues_from_what_the_first_makes(recipe: Load) -> None:
    steps = "steps: [{do: train, name: read}, {do: train, set: {budget: 30k tokens}}]\n"
    found = explain(recipe(RECIPE + "budget: 20k tokens\n" + steps, "data.repetition_cap=1e6"), CPU)
    assert found.problems == ()
    later = found.later[0].plan
    assert later is not None and later.get("start.kind") == "step"
    assert later.get("start.tokens_seen") == 20_000
    assert start_of(later).config()["num_hidden_layers"] == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scaffold: {}\n", "neither `depth` nor `parameters`"),
        ("scaffold: {depth: 2, parameters: 1M}\n", "both `depth` and `parameters`"),
        ("scaffold: {depth: 2, shape: bert}\n", "`scaffold.shape: bert` must be"),
        ("scaffold: {depth: 0}\n", "greater than or equal to 1"),
        ("scaffold: {parameters: lots}\n", "no number of parameters"),
        ("scaffold: {depth: 2, width: 64}\n", "no key `scaffold.width`"),
        ("scaffold: {parameters: 1k}\n", "smallest model"),
        ("scaffold: {depth: 2, tokenizer: nowhere}\n", "`scaffold.tokenizer: nowhere` is no folder"),
        ("model: families/weights\nscaffold: {depth: 2}\n", "both `model` and `scaffold`"),
        ("start: hot\nfamily: tiny\nscaffold: {depth: 2}\n", "is no empty model"),
        ("start: scaffold\n", "names no empty model"),
        ("method: lora\nscaffold: {depth: 2}\n", "a scaffold has none"),
    ],
)
def test_what_makes_no_model_is_refused_with_its_line(recipe: Load, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        found = explain(recipe(f"data: {{domain: text.jsonl}}\n{text}"), CPU)
        for problem in found.problems:
            raise problem.error()
    assert refused.value.fix
    assert refused.value.where is not None and refused.value.where.line in (1, 2, 3)


def test_a_tokenizer_is_found_beside_the_recipe_that_names_it(here: Path, recipe: Load) -> None:
    shutil.copytree(families_dir() / "ember" / "tokenizer", here / "base" / "own")
    (here / "base" / "parent.yaml").write_text("scaffold: {depth: 2, tokenizer: own}\ndata: {domain: text.jsonl}\n")
    plan = resolve(recipe("extends: base/parent.yaml\nbudget: 20k tokens\ndata: {domain: text.jsonl}\n"))
    assert plan.get("start.tokenizer") == str((here / "base" / "own").resolve())
