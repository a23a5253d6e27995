"""Preferences in a recipe: objective, rate and start follow the rows, and what has no effect is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bloomery.recipes.configure import train_config
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.resolve import resolve

from .conftest import CPU, rows

Load = Callable[..., Loaded]
PREFERS = "family: tiny\ndata: {domain: prefers.jsonl}\n"


@pytest.fixture(autouse=True)
def written(here: Path) -> None:
    said = [{"prompt": f"what is {i}", "chosen": "a number " * 9, "rejected": "a letter " * 9} for i in range(50)]
    rows(here / "prefers.jsonl", said)
    judged = [{"prompt": r["prompt"], "completion": r["chosen"], "label": True} for r in said]
    rows(here / "judged.jsonl", judged)


def refusal(loaded: Loaded) -> str:
    (problem,) = explain(loaded, CPU).problems
    return str(problem)


def test_pairs_of_answers_are_learned_by_dpo_from_the_last_stage_with_its_replay(recipe: Load) -> None:
    plan = resolve(recipe(PREFERS))
    assert (plan.get("objective"), plan.origin("objective")) == ("dpo", "derived")
    assert (plan.get("start.ref"), plan.get("curated.mix")) == ("tiny/chat", "post")
    assert "manners" in {suite["name"] for suite in plan.get("eval.suites")}
    assert plan.get("asked.budget") == {"epochs": 1.0}
    assert plan.get("schedule.warmup") == 0.1
    assert plan.section("preference") == {"beta": 0.1, "label_smoothing": 0.0, "replay_weight": 1.0}


def test_judged_answers_are_learned_by_kto_beside_pairs_or_alone(recipe: Load) -> None:
    assert resolve(recipe("family: tiny\ndata: {domain: judged.jsonl}\n")).get("objective") == "kto"
    assert resolve(recipe("family: tiny\ndata: {domain: [judged.jsonl, prefers.jsonl]}\n")).get("objective") == "kto"
    assert resolve(recipe("family: tiny\ndata: {domain: [text.jsonl, prefers.jsonl]}\n")).get("objective") == "dpo"


@pytest.mark.parametrize(("objective", "part"), [("dpo", 0.05), ("ipo", 0.05), ("kto", 0.05), ("orpo", 0.25)])
def test_preferences_take_small_steps(recipe: Load, objective: str, part: float) -> None:
    plan = resolve(recipe(PREFERS, f"objective={objective}"))
    assert plan.get("schedule.lr") == pytest.approx(part * 2e-4)
    assert plan.get("schedule.kind") == "linear"
    adapters = resolve(recipe(PREFERS, f"objective={objective}", "method=lora"))
    assert adapters.get("schedule.lr") == pytest.approx(part * 2e-3)


def test_both_rows_of_a_pair_fit_one_forward_pass(recipe: Load) -> None:
    plan = resolve(recipe(PREFERS, "memory.limit=1 MB"))
    assert plan.get("memory.micro_tokens") == 2 * plan.get("context")


def test_the_loop_is_told_what_the_recipe_says(recipe: Load) -> None:
    plan = resolve(recipe(PREFERS, "objective=kto", "preference.beta=0.3", "preference.undesirable_weight=1.3",
                          "preference.replay_weight=0.5"))  # fmt: skip
    optim = train_config(plan).optim
    assert (optim.preference.objective, optim.preference.beta, optim.preference.undesirable_weight) == ("kto", 0.3, 1.3)
    assert optim.coefficient == {"ce": 0.5}
    assert plan.origin("preference.beta") == "user" and plan.origin("preference.desirable_weight") == "stage default"
    assert train_config(resolve(recipe("family: tiny\ndata: {domain: text.jsonl}\n"))).optim.coefficient == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("family: tiny\ndata: {domain: pairs.jsonl}\npreference: {beta: 1}\n", "`preference` is set, but `objective`"),
        (PREFERS + "objective: ipo\npreference: {label_smoothing: 0.1}\n", "has no effect with `objective: ipo`"),
        (PREFERS + "preference: {desirable_weight: 2}\n", "has no effect with `objective: dpo`"),
        (PREFERS + "objective: sft\n", "`objective: sft` cannot learn from `prefers`, which holds pairs of answers"),
        ("family: tiny\nobjective: dpo\ndata: {domain: judged.jsonl}\n", "`judged`, which holds judged answers"),
        ("family: tiny\nobjective: dpo\ndata: {domain: pairs.jsonl}\n", "no domain source holds any"),
        (PREFERS + "start: scaffold\n", "compares with the start, and a scaffold has learned nothing"),
    ],
)
def test_what_cannot_be_learned_or_has_no_effect_is_refused(recipe: Load, text: str, says: str) -> None:
    assert says in refusal(recipe(text))


@pytest.mark.parametrize("text", [PREFERS, PREFERS + "objective: orpo\nstart: scaffold\n"])
def test_a_recipe_that_suits_its_rows_is_refused_nothing(recipe: Load, text: str) -> None:
    assert explain(recipe(text), CPU).problems == ()


@pytest.mark.parametrize("smoothing", [0.5, -0.1])
def test_a_smoothing_of_half_says_nothing_and_is_refused(recipe: Load, smoothing: float) -> None:
    from bloomery.core.errors import InputError

    with pytest.raises(InputError, match=r"preference\.label_smoothing"):
        recipe(PREFERS + f"preference: {{label_smoothing: {smoothing}}}\n")
