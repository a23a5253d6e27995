"""Long rows come from sources that are marked, make at most 34 % of the tokens, and the plan counts with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bloomery.core.errors import InputError
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.long_context import context_of
from bloomery.recipes.resolve import resolve

from .conftest import CONFIG, CPU, rows

Load = Callable[..., Loaded]
RECIPE = """\
family: tiny
start: hot
budget: 60k tokens
data: {domain: [{path: text.jsonl, long: true}], share: 30%, long_context: 512, repetition_cap: 1000}
"""


@pytest.fixture(autouse=True)
def rotary(here) -> None:  # type: ignore[no-untyped-def]
    """The family's model says how its positions turn, as any published one does."""
    import json

    (here / "families" / "weights" / "config.json").write_text(json.dumps(CONFIG | {"rope_theta": 10_000.0}))


def test_the_plan_tells_the_model_and_cuts_only_marked_sources_longer(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE))
    assert plan.get("context") == 128
    assert {source.name: context_of(plan, source.name) for source in plan.sources} == {
        "text": 512, "web": 128, "code": 128,
    }  # fmt: skip
    told = plan.get("long.configuration")
    assert told["max_position_embeddings"] == 512
    assert told["rope_parameters"]["rope_theta"] == pytest.approx(10_000 * 4 ** (5.644 / 3), rel=0.01)
    assert "ABF" in plan.values["long.rope"].why
    assert plan.get("optim.batch_tokens") % 512 == 0


def test_a_source_is_not_read_otherwise_by_being_long(recipe: Load) -> None:
    plan = resolve(recipe(RECIPE))
    assert "long" not in plan.sources[0].spec


def test_memory_counts_with_the_long_rows(recipe: Load) -> None:
    short = explain(recipe(RECIPE.replace(", long: true", "").replace("long_context: 512, ", "")), CPU)
    long = explain(recipe(RECIPE.replace("512", "8192")), CPU)
    assert short.plan and long.plan and short.memory and long.memory
    assert long.plan.get("memory.micro_tokens") >= 8192 > short.plan.get("memory.micro_tokens")
    assert long.memory.activations > short.memory.activations


def test_a_phase_without_long_rows_may_come_first(recipe: Load) -> None:
    phases = "phases: [{name: a, length: 50%, share: 0%}, {name: b, length: 50%, share: 34%}]\n"
    found = explain(recipe(RECIPE + phases), CPU)
    assert [problem for problem in found.problems if "long" in problem.message] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("share: 30%", "share: 35%"), "at most 34% may be long"),
        (("share: 30%, ", ""), "long sources make 50%"),
        (
            ("budget", "phases: [{name: a, length: 50%}, {name: b, length: 50%, share: 40%}]\nbudget"),
            "40% of the tokens",
        ),
        ((", long: true", ""), "no source is `long`"),
        (("long_context: 512, ", ""), "does not say how long"),
        (("512", "128"), "no longer than `data.context`"),
        (("share: 30%", "share: 30%, rope: ntk"), "must be 'auto'"),
        (("start: hot", "start: hot\nkeep: {general: 1%, hold: true}"), "the controller would change"),
        (("start: hot", "start: scaffold"), "an empty model has none"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(recipe: Load, change: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        for problem in explain(recipe(RECIPE.replace(*change)), CPU).problems:
            if "weights" not in problem.message:
                raise problem.error()
    assert said in refused.value.message
    assert refused.value.fix and refused.value.where is not None


def test_long_rows_do_not_go_with_preferences(recipe: Load, here) -> None:  # type: ignore[no-untyped-def]
    rows(here / "text.jsonl", [{"prompt": f"q{n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(40)])
    found = explain(recipe(RECIPE.replace("start: hot", "start: chat")), CPU)
    assert any("`data.long_context` with `objective: dpo`" in problem.message for problem in found.problems)
