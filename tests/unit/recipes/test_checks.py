"""Laws of refusals: all of them are found together, before anything is trained, each with the key to change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bloomery.core.errors import InputError, Where
from bloomery.recipes.checks import check_disk, check_plan, disk_bytes, refuse
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded
from bloomery.recipes.problem import Problem
from bloomery.recipes.resolve import resolve
from bloomery.recipes.settle import settle
from bloomery.recipes.show import cost_rows

from .conftest import CONFIG, CPU, rows

Load = Callable[..., Loaded]
TEXT = "family: tiny\nstart: hot\ndata: {domain: text.jsonl}\nbudget: 10k tokens\n"


def problems(loaded: Loaded) -> list[Problem]:
    return list(explain(loaded, CPU).problems)


def only(loaded: Loaded) -> Problem:
    (problem,) = problems(loaded)
    return problem


def test_a_recipe_that_can_run_is_refused_nothing(recipe: Load) -> None:
    assert problems(recipe(TEXT + "keep: {general: 1%}\narms: [domain-only]\n")) == []


def test_a_share_beyond_the_repetition_cap_is_refused_by_source(recipe: Load) -> None:
    loaded = recipe(TEXT, "budget=10M tokens")
    plan = settle(resolve(loaded), {"text": 1_000_000, "web": 10**7, "code": 10**7})
    (problem,) = check_plan(loaded, plan, CPU)
    assert "`text` has 1,000,000 tokens, and its share needs 5.0 epochs" in problem.message
    assert check_plan(loaded, settle(plan, {"text": 1_250_000, "web": 10**7, "code": 10**7}), CPU) == []


def test_an_estimate_is_refused_only_where_it_is_far_off(recipe: Load) -> None:
    loaded = recipe(TEXT, "budget=10M tokens")
    counts = {"text": 1_010_000, "web": 10**7, "code": 10**7}
    assert check_plan(loaded, settle(resolve(loaded), counts, estimated=True), CPU) == []
    assert len(check_plan(loaded, settle(resolve(loaded), counts), CPU)) == 1


def test_a_hostile_or_empty_model_folder_is_refused_before_anything_is_read(recipe: Load, here: Path) -> None:
    weights = here / "families" / "weights"
    (weights / "extra.py").write_bytes(b"")
    assert "can run code when opened" in only(recipe(TEXT)).message
    (weights / "extra.py").unlink()
    (weights / "config.json").write_text(json.dumps(CONFIG | {"vision": {"auto_map": {"AutoModel": "evil.Model"}}}))
    assert "asks for code" in only(recipe(TEXT)).message
    (weights / "config.json").write_text(json.dumps(CONFIG))
    (weights / "model.safetensors").unlink()
    assert "has no safetensors weights" in only(recipe(TEXT)).message
    (weights / "config.json").unlink()
    assert "has no config.json" in only(recipe(TEXT)).message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT + "method: qlora\n", "`method: qlora` needs a GPU"),
        (TEXT + "lora: {rank: 8}\n", "`lora` is set, but `method` is full"),
        (TEXT + "method: lora\nschedule: {anneal_by: merge}\n", "`anneal_by: merge` with `method: lora`"),
        (TEXT + "objective: sft\n", "`objective: sft` trains answers, and `text` holds plain text"),
        (
            TEXT.replace("text.jsonl", "text.jsonl, curated: none") + "eval: {suites: none}\nkeep: {general: 1%}\n",
            "no general data to measure it on",
        ),
        (TEXT + "report_to: trackio\n", "`report_to: trackio` is not installed"),
        (TEXT + "memory: {limit: 1 MB}\n", "the smallest step needs"),
        (TEXT + "memory: {device: cuda}\n", "`memory.device: cuda` needs a GPU, and there is none"),
        (TEXT + "threads: 100000\n", "`threads: 100000` is more than the .* that this machine runs at once"),
        (TEXT + "schedule: {kind: wsd, warmup: 60%, anneal: 60%}\n", "take 120% of the run together"),
        (TEXT + "schedule: {kind: wsd, anneal: 60%, warmup: 100 steps}\n", "of the run together"),
        (TEXT + "schedule: {anneal: 900 steps}\n", "`schedule.anneal: 900 steps` is more than the"),
        (TEXT + "schedule: {lr: 1e-5, final: 1e-3}\n", "`schedule.final: 0.001` is above the rate of the run, 1e-05"),
        (TEXT + "schedule: {kind: linear, anneal: 20%}\n", "a linear schedule does not use it"),
        (TEXT + "schedule: {kind: constant, final: 1e-5}\n", "a constant schedule does not use it"),
        (TEXT + "optim: {settle: 100000}\n", "`optim.settle: 100000` is more than the"),
        (
            TEXT + "phases: [{name: a, length: 5 steps}, {name: b, length: 5 steps}]\n",
            "the phases last 10 steps together",
        ),
        (
            TEXT + "phases: [{name: a, length: 99.9%}, {name: b, length: 0.1%}]\n",
            "the phase `b` lasts 0.079 of the run's 79 steps",
        ),
        (TEXT + "phases: [{name: a, length: 100%, curated: {talk: 100%}}]\n", "names `talk`, which is not in the"),
        ("family: tiny\nstart: scaffold\nmethod: lora\nbudget: 10k tokens\n", "a scaffold has none"),
        ("family: tiny\nstart: hot\nbudget: 10k tokens\narms: [domain-only]\n", "needs domain data"),
        ("family: tiny\nstart: hot\nbudget: 1k tokens\ndata: {curated: none}\n", "nothing to train on"),
        ("family: tiny\nstart: hot\n", "`budget` is needed when there is no domain data"),
        ("family: tiny\ndata: {domain: gone.jsonl}\n", "`path: .*gone.jsonl` does not exist"),
    ],
)
def test_what_cannot_work_is_refused_with_the_key_to_change(recipe: Load, text: str, says: str) -> None:
    found = problems(recipe(text))
    assert [p for p in found if re.search(says, p.message)], [str(p) for p in found]
    assert all(problem.fix for problem in found)


@pytest.mark.parametrize(
    ("grader", "says"),
    [
        ("{type: exakt}", r"`eval.grader`: `type: exakt` is no grader \(did you mean `exact`\?\)"),
        ("{type: regex}", "`eval.grader`: a regex grader needs `pattern`"),
        ("{type: python, path: grade.py}", "`eval.grader`: grader `python` runs the Python code in .*/grade.py"),
        ("{type: python, path: gone.py, trusted: true}", "`eval.grader`: there is no file .*/gone.py"),
        (
            "{type: multi, graders: {right: {type: exact}, own: {type: python, path: grade.py}}}",
            "`eval.grader`: `graders.own`: grader `python` runs the Python code in .*/grade.py",
        ),
        (
            "{type: multi, graders: [{type: multi, graders: {own: {type: python, path: gone.py, trusted: true}}}]}",
            "`eval.grader`: `graders.0.graders.own`: there is no file .*/gone.py",
        ),
        (
            "{type: multi, graders: {right: {type: regex}}}",
            "`eval.grader`: `graders.right`: a regex grader needs `pattern`",
        ),
        ("{type: multi, graders: {right: exact}}", "`eval.grader`: `graders.right` is no grader"),
    ],
)
def test_a_grader_that_cannot_work_is_refused_before_the_run(recipe: Load, here: Path, grader: str, says: str) -> None:
    (here / "grade.py").write_text("def grade(sample):\n    return 1.0\n")
    problem = only(recipe(TEXT + f"eval: {{grader: {grader}}}\n"))
    assert re.search(says, problem.message), problem.message
    assert problem.fix is not None and problem.where == Where(here / "recipe.yaml", 5)


def test_a_grader_in_python_lies_beside_its_recipe_and_is_trusted_with_it(recipe: Load, here: Path) -> None:
    (here / "grade.py").write_text("def grade(sample):\n    return 1.0\n")
    loaded = recipe(TEXT + "trusted: true\neval: {grader: {type: python, path: grade.py}}\n")
    assert problems(loaded) == []
    spec = resolve(loaded).get("eval.grader")
    assert spec == {"type": "python", "path": str(here / "grade.py"), "trusted": True}


def test_a_family_cannot_trust_its_own_code(recipe: Load, here: Path) -> None:
    family = here / "families" / "tiny.yaml"
    (here / "families" / "grade.py").write_text("def grade(sample):\n    return 1.0\n")
    alone = "{type: python, path: grade.py, trusted: true}"
    whole = family.read_text()
    text = TEXT.replace("start: hot", "start: chat").replace("text.jsonl", "pairs.jsonl")
    for grader in (alone, f"{{type: multi, graders: {{right: {{type: exact}}, own: {alone}}}}}"):
        family.write_text(whole.replace("{type: exact}", grader))
        said = only(recipe(text)).message
        assert "the suite `manners`: " in said and "grader `python` runs the Python code in" in said
        assert problems(recipe(text + "trusted: true\n")) == []
    (here / "grade.py").write_text("def grade(sample):\n    return 1.0\n")
    ours = recipe(text + f"eval: {{suites: none, grader: {grader}}}\n")
    assert problems(ours) == []
    assert resolve(ours).get("eval.grader")["graders"]["own"]["path"] == str(here / "grade.py")


@pytest.mark.parametrize("text", ["model: org/name\nrevision: abc\n", "family: far\nstart: base\n"])
def test_a_model_on_the_hub_is_no_reason_to_refuse_and_is_planned_without_its_files(
    recipe: Load, here: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    (here / "families" / "far.yaml").write_text(
        "name: far\ntitle: Far\nlicence: MIT\narchitecture: LlamaForCausalLM\nparameters: 100k\ncontext: 131072\n"
        "tokenizer: hub\ncheckpoints:\n  base: {repo: org/far, revision: '1234567', tokens: 1T, lr: 0, peak_lr: 1e-4}\n"
    )
    loaded = recipe(text + "data: {domain: text.jsonl}\nbudget: 10k tokens\nthreads: 1\n")
    found = explain(loaded, CPU)
    assert found.can_run and found.plan is not None, found.problems
    assert (found.plan.get("start.folder"), found.plan.get("start.commit")) == (None, None)
    assert any(row[0] == "fetch" for row in cost_rows(found))
    found_context = found.plan.values["context"]
    assert found_context.value == (2048 if "model" in text else 8192)
    assert "131,072" in found_context.why or "model" in text
    asked = explain(recipe(text + "data: {domain: text.jsonl, context: 16384}\nbudget: 20k tokens\n"), CPU).plan
    assert asked is not None and asked.get("context") == 16384


def test_a_row_with_an_image_is_refused_before_the_run(recipe: Load, here: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": "a.png"}}
    turns = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "a"}]
    rows(here / "pictures.jsonl", [{"messages": turns}])
    assert "image" in problems(recipe(TEXT, "data.domain=pictures.jsonl"))[0].message


def test_all_refusals_are_told_together(recipe: Load) -> None:
    text = "family: tiny\nstart: hot\nbudget: 1M tokens\ndata: {domain: [gone.jsonl, text.jsonl]}\nreport_to: trackio\n"
    found = problems(recipe(text + "lora: {rank: 4}\n"))
    assert len(found) >= 3
    assert "does not exist" in found[0].message


def test_memory_auto_gives_up_speed_step_by_step_before_it_refuses(recipe: Load, here: Path) -> None:
    config = CONFIG | {"hidden_size": 512, "num_hidden_layers": 16, "intermediate_size": 2048, "vocab_size": 4096}
    (here / "families" / "weights" / "config.json").write_text(json.dumps(config))
    seen = []
    for limit in (6_000, 3_600, 1_500, 200):
        machine = replace(CPU, memory=limit * 1_000_000)
        found = explain(recipe(TEXT, "budget=1M tokens"), machine)
        assert found.plan is not None
        memory = found.plan.section("memory")
        seen.append(
            (
                memory["micro_tokens"],
                memory["activation_checkpointing"],
                any("smallest" in str(p) for p in found.problems),
            )
        )
    assert seen == [(4096, False, False), (2048, False, False), (512, True, False), (128, True, True)]


def test_the_run_refuses_with_everything_at_once(recipe: Load) -> None:
    with pytest.raises(InputError, match=r"`lora` is set(.|\n)*also: .*`report_to: trackio` is not installed"):
        refuse(problems(recipe(TEXT + "lora: {rank: 4}\nreport_to: trackio\n")))
    refuse(problems(recipe(TEXT)))


def test_room_is_looked_for_where_the_run_will_lie(recipe: Load, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = resolve(recipe(TEXT)), []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=2 * int(disk_bytes(plan) or 0) - 1)

    monkeypatch.setattr("shutil.disk_usage", usage)
    (here / "other").mkdir()
    assert check_disk([plan], here / "other" / "deep" / "run") == []
    [problem] = check_disk([plan, plan], Path("other"))
    assert "GB of disk" in problem.message and problem.where == Where(here / "other")
    assert asked == [here / "other"] * 2


@pytest.mark.parametrize(
    ("domain", "says"),
    [
        ("[{path: text.jsonl, share: 60%}, {path: more.jsonl, share: 60%}]", "sum to 1.2, not 1"),
        ("[{path: text.jsonl, share: 10%}, {path: more.jsonl, share: 20%}]", "sum to 0.3, not 1"),
        ("[{path: text.jsonl, share: 100%}, {path: more.jsonl}]", "sum to 1, which leaves nothing to `more`"),
        ("[{path: text.jsonl, share: 60%}, {path: more.jsonl}]", ""),
    ],
)
def test_parts_of_the_domain_that_are_no_parts_of_a_whole_are_refused(recipe: Load, domain: str, says: str) -> None:
    loaded = recipe(TEXT)
    (loaded.base / "more.jsonl").write_text((loaded.base / "text.jsonl").read_text())
    told = [problem.message for problem in problems(recipe(TEXT.replace("text.jsonl", domain)))]
    assert [message for message in told if "shares of the domain" in message] == [
        f"the shares of the domain sources {says}"
    ] * bool(says)


def test_a_share_that_leaves_tokens_to_no_data_is_refused(recipe: Load) -> None:
    loaded = recipe(TEXT)
    rows(loaded.base / "own.jsonl", [{"text": "slag " * 20} for _ in range(50)])
    own = {"path": "own.jsonl", "share": "0%"}
    assert "sum to 0, not 1" in problems(recipe(TEXT, f"data.curated=[{json.dumps(own)}]"))[0].message
    model = recipe(TEXT.replace("family: tiny\nstart: hot", "model: families/weights"), "data.share=40%")
    assert any("there is none" in problem.message and "data.share" in problem.message for problem in problems(model))


def test_passes_over_a_domain_that_is_not_taken_are_refused(recipe: Load) -> None:
    assert "`data.share: 0%` takes none of it" in only(recipe(TEXT, "data.share=0%", "budget=2 epochs")).message
