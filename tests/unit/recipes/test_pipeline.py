"""Steps become trainings: each with its own keys, each but the last exported for the next, all checked beforehand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from bloomery.core.errors import InputError
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded, recipe_from
from bloomery.recipes.pipeline import after, judged, starting_from, trainings
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.resolve import resolve
from bloomery.recipes.run import run
from bloomery.recipes.show import print_explanation, total_time
from bloomery.recipes.start import left_by

from .conftest import CONFIG, CPU

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


@pytest.mark.parametrize(
    ("keep", "steps", "last"),
    [
        ({"general": "1%"}, ["train", {"do": "train", "name": "b"}, "export"], ["train", "evaluate", "export"]),
        ({"general": "1%"}, ["train"], ["train", "evaluate"]),
        ({"general": "1%"}, ["train", "evaluate", "export"], ["train", "evaluate", "export"]),
        (None, ["train", "export"], ["train", "export"]),
    ],
)
def test_a_budget_never_ends_unjudged(keep: object, steps: list[object], last: list[str]) -> None:
    loaded = recipe_from({**BASE, "steps": steps, **({"keep": keep} if keep else {})})
    assert does(judged(trainings(loaded))[-1]) == last


def test_the_first_start_and_the_smallest_unjudged_budget_are_carried_on() -> None:
    def plan(keep: float | None, *steps: str) -> Plan:
        values = {"keep.general": keep, "steps": [{"do": step} for step in steps]}
        return Plan({key: Value(value, "user") for key, value in values.items()})

    first = plan(0.01, "train", "export")
    one = after(None, first)
    two = after(one, plan(0.02, "train"))
    assert (one.first, one.keep, two.first, two.keep) == (first, 0.01, first, 0.01)
    assert after(two, plan(None, "train", "evaluate")).keep is None


Load = Callable[..., Loaded]
HEAD = "family: tiny\nstart: hot\ndata: {domain: text.jsonl}\nbudget: 10k tokens\nname: two\nsteps:\n  - train\n"
THEN = "  - {do: train, name: pairs, set: {data: {domain: pairs.jsonl}}}\n  - evaluate\n"


def finished(folder: Path, plan: Plan) -> Path:
    """A run folder as a training by this plan leaves it, with weights of no size."""
    (folder / "model").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("family: tiny\n")
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    plan.write(folder / "plan.json")
    return folder


@pytest.mark.parametrize("head", [HEAD, HEAD.replace("family: tiny\nstart: hot", "model: families/weights")])
def test_a_later_training_is_planned_beforehand_as_it_will_be(recipe: Load, here: Path, head: str) -> None:
    loaded = recipe(head + THEN)
    found = explain(loaded, CPU)
    assert found.plan is not None and found.later[0].plan is not None
    first, second = found.plan, found.later[0].plan
    after = resolve(starting_from(trainings(loaded)[1], finished(here / "runs" / "1-train", first)))
    where = {"start.ref", "start.kind", "start.folder", "start.tokenizer", "source_tokens", "steps", "arms"}
    assert {k: v.value for k, v in second if k not in where} == {k: v.value for k, v in after if k not in where}
    assert second.get("objective") == "sft" and second.get("start.kind") == "step"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("data.share: 300%", "recipe.yaml:8: `data.share: 300%` is outside 0 to 100 %"),
        ("data: {shar: 30%}", "recipe.yaml:8: there is no key `data.shar`"),
        ("data: {domain: gone.jsonl}", "gone.jsonl` does not exist"),
        ("data: {share: 60%}, budget: 90M tokens", "recipe.yaml:8: `text` has about 4,"),
        ("eval: {grader: {type: exakt}}", "recipe.yaml:8: `eval.grader`: `type: exakt` is no grader"),
        ("eval: gone.jsonl", "recipe.yaml:8: `path: "),
        ("lora: {rank: 4}", "recipe.yaml:8: `lora` is set, but `method` is full"),
        ("memory.limit: 1 MB", "recipe.yaml:8: the smallest step needs"),
    ],
)
def test_what_would_stop_a_later_training_is_found_before_the_first_by_the_line_of_its_step(
    recipe: Load, here: Path, changes: str, says: str
) -> None:
    found = explain(recipe(f"{HEAD}  - {{do: train, set: {{{changes}}}}}\n"), CPU)
    assert says in str(found.problems[0]), found.problems
    with pytest.raises(InputError):
        run(here / "recipe.yaml", quiet=True)
    assert not (here / "runs").exists()


def test_problems_of_all_trainings_are_told_once_and_together(recipe: Load, here: Path) -> None:
    text = HEAD.replace("steps:", "report_to: trackio\nsteps:") + THEN.replace("set: {", "set: {lora: {rank: 4}, ")
    found = explain(recipe(text), CPU)
    assert [problem.message.split("`")[1] for problem in found.problems] == ["report_to: trackio", "lora"]
    with pytest.raises(InputError, match=r"`report_to: trackio` is not(.|\n)*also: .*`lora` is set"):
        run(recipe(text), quiet=True)


def test_room_must_be_there_for_all_trainings(recipe: Load, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = explain(recipe(HEAD + THEN), CPU)
    largest = max(one.disk or 0 for one in (found, *found.later))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=largest + 1))
    assert found.can_run
    assert ["GB of disk" in problem.message for problem in explain(recipe(HEAD + THEN), CPU).problems] == [True]


def test_every_training_is_explained(recipe: Load) -> None:
    found = explain(recipe(HEAD + THEN), CPU)
    assert (found.name, found.can_run, len(found.later)) == ("two", True, 1)
    assert [[row.name for row in one.sources] for one in (found, *found.later)] == [
        ["text", "web", "code"],
        ["pairs", "talk"],
    ]
    assert json.loads(json.dumps(found.to_json()))["later"][0]["plan"]["values"]["objective"]["value"] == "sft"
    console = Console(width=110, file=io.StringIO(), record=True)
    print_explanation(found, console)
    text = console.export_text()
    assert "training 1 of 2" in text and "training 2 of 2" in text and "pairs" in text
    slow = replace(found, seconds=3600.0, later=tuple(replace(one, seconds=1800.0) for one in found.later))
    assert total_time((slow, *slow.later)) == "all 2 trainings: ≈ 90 minutes"
    assert "<p>all 2 trainings: ≈ 90 minutes</p>" in slow._repr_html_()
    assert total_time((slow,)) == total_time((slow, replace(slow, seconds=None))) == ""


def test_a_single_training_is_explained_with_what_its_step_sets(recipe: Load) -> None:
    found = explain(recipe(HEAD.replace("- train", "- {do: train, set: {budget: 20k tokens}}")), CPU)
    assert found.later == ()
    assert found.plan is not None and found.plan.get("budget.tokens") == 20_000


def test_steps_that_cannot_work_are_explained_as_a_refusal(recipe: Load) -> None:
    found = explain(recipe("family: tiny\nstart: hot\nsteps: [evaluate]\n"), CPU)
    assert [problem.message for problem in found.problems] == ["`steps` must begin with `train`"]


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ("method: lora\nschedule: {kind: constant}\n", (1e-3, 1e-3, "hot")),
        ("schedule: {kind: constant, lr: 1e-3}\n", (1e-3, 1e-3, "hot")),
        ("objective: sft\nschedule: {kind: constant}\n", (None, 1e-3, "cold")),  # says nothing of pre-training
    ],
)
def test_a_training_leaves_the_rate_that_pre_training_would_go_on_at(
    recipe: Callable[..., Loaded], more: str, left: tuple[float | None, float, str]
) -> None:
    rows = "pairs.jsonl" if "sft" in more else "text.jsonl"
    rate = "schedule.lr=1e-3" if "lora" in more else "budget=4k tokens"
    plan = resolve(recipe(f"family: tiny\nstart: hot\ndata: {{domain: {rows}}}\nbudget: 4k tokens\n{more}", rate))
    found = left_by(plan, None)
    assert (found.lr, found.peak_lr, found.plasticity) == (left[0] and pytest.approx(left[0]), *left[1:])
