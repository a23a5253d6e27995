"""A run from recipe to report through the command line, and every verb on what it leaves behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from made_up import evaluation, scores
from tiny import Told, bloomery, write_rows

from bloomery.core.files import read_json, verify_folder
from bloomery.evals.compare import compare
from bloomery.evals.ungraded import ungraded
from bloomery.recipes.measured import Compared

Finished = tuple[Path, Told]


def test_a_run_leaves_everything(finished: Finished) -> None:
    folder, told = finished
    run = folder / "runs" / "whole"
    assert "Domain text takes" in told.out and "report: runs/whole/report.html" in told.out
    assert "step 12/12" in told.err
    kept = {path.name for path in run.iterdir()}
    assert kept >= {"recipe.yaml", "plan.json", "events.jsonl", "data-receipt.json", "checkpoints", "model"}
    assert {f"report.{kind}" for kind in ("json", "md", "html")} <= kept
    assert verify_folder(run / "model") == {"kind": "model", "run": "whole"}
    private, public = read_json(run / "data-receipt.json"), read_json(run / "model" / "data-receipt.json")
    assert private["sources"]["domain"]["identity"]["files"][0][0] == "domain.jsonl"
    assert public["sources"]["domain"].keys() == private["sources"]["domain"].keys() - {"columns", "store", "identity"}
    assert public["sources"]["domain"]["taken"] == private["sources"]["domain"]["taken"]
    assert ".jsonl" not in (run / "model" / "data-receipt.json").read_text()
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000009", "step-00000012"]
    report = read_json(run / "report.json")
    assert report["groups"]["domain"]["after"] < report["groups"]["domain"]["before"]
    assert "src=" not in (page := (run / "report.html").read_text()) and "url(" not in page


def test_rows_of_the_user_are_for_the_owner_only(finished: Finished) -> None:
    run = finished[0] / "runs" / "whole"
    text = json.loads((finished[0] / "heldout.jsonl").read_text().splitlines()[0])["text"]
    holding = {path for path in run.rglob("*") if path.is_file() and text.encode() in path.read_bytes()}
    assert run / "eval" / "heldout.jsonl" in holding
    assert {path for path in holding if path.stat().st_mode & 0o077} == set()


def test_the_card_tells_blend_figures_and_lineage(finished: Finished) -> None:
    card = (finished[0] / "runs" / "whole" / "model" / "README.md").read_text()
    assert "Lineage: whole ← tiny" in card
    assert "| domain | domain | 50.0% |" in card and "| general | curated | 50.0% |" in card
    assert "| domain | bits per byte | " in card and "license: unknown" in card


def test_runs_models_and_show(finished: Finished) -> None:
    folder, _ = finished
    (run,) = json.loads(bloomery("runs", "--json", within=folder).out)
    assert (run["name"], run["status"], run["step"]) == ("whole", "done", 12)
    assert run["figures"]["domain_change"] < 0
    (model,) = json.loads(bloomery("models", "--json", within=folder).out)
    assert (model["name"], model["ancestry"]) == ("whole", ["tiny"])
    shown = bloomery("show", "whole", within=folder)
    assert "domain_change -0." in shown.out and "{" not in shown.out
    wrong = bloomery("show", "whol", within=folder)
    assert (wrong.status, "did you mean `whole`?" in wrong.err) == (2, True)


def test_a_model_is_asked_measured_and_compared(finished: Finished) -> None:
    folder, _ = finished
    assert bloomery("ask", "whole", "Which form?", "--tokens", "4", within=folder).out.strip()
    assert bloomery("ask", "whole", " ", within=folder).status == 2
    measured = json.loads(bloomery("eval", "whole", "--data", "heldout.jsonl", "--json", within=folder).out)
    report = read_json(folder / "runs" / "whole" / "report.json")
    assert measured["suites"][0]["value"] == pytest.approx(report["groups"]["domain"]["after"], rel=1e-5)
    compared = bloomery("compare", "tiny", "whole", "--data", "heldout.jsonl", within=folder)
    assert "tiny -> whole" in compared.out and "heldout" in compared.out
    missing = bloomery("eval", "whole", "--data", "gone.jsonl", within=folder)
    assert (missing.status, missing.err) == (2, "error: gone.jsonl: there is no such file\n  fix: change --data\n")


def test_an_exported_folder_is_the_users_own(after: Path) -> None:
    assert bloomery("export", "whole", "out", within=after).out == "wrote out\n"
    verify_folder(after / "out")
    (after / "out" / "config.json").write_text("{}")
    verify_folder(after / "runs" / "whole" / "model")
    again = bloomery("export", "whole", "out", within=after)
    assert (again.status, again.err) == (2, "error: out: exists already\n  fix: choose another folder\n")


def test_the_rows_of_a_step_are_shown(finished: Finished) -> None:
    folder, _ = finished
    of_run = bloomery("data", "show", "whole", "--step", "3", within=folder)
    assert "step 3" in of_run.out and "⟦" in of_run.out
    assert of_run.out == bloomery("data", "show", "recipe.yaml", "--step", "3", within=folder).out
    beyond = bloomery("data", "show", "whole", "--step", "12", within=folder)
    assert beyond.err == "error: the run has 12 steps, there is no step 12\n  fix: change --step\n"


def test_resuming_a_finished_run_says_what_it_said(after: Path, finished: Finished) -> None:
    before = {path: path.read_bytes() for path in (after / "runs" / "whole" / "model").iterdir()}
    again = bloomery("resume", "whole", within=after)
    assert (again.status, again.out) == (0, finished[1].out)
    assert "training" not in again.err and "evaluating" not in again.err
    assert before == {path: path.read_bytes() for path in before}


def test_the_same_recipe_gives_the_same_bytes(here: Path, finished: Finished) -> None:
    assert bloomery("run", "recipe.yaml", "name=again", within=here).status == 0
    one, other = finished[0] / "runs" / "whole", here / "runs" / "again"
    assert (one / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()


KEPT = ("model=null", "family=toy", "start=hot", "schedule.lr=5e-2", "data.curated=none")


def test_the_forgetting_budget_is_the_exit_status(here: Path) -> None:
    broken = bloomery("run", "recipe.yaml", *KEPT, "name=broken", "keep.general=0.01%", within=here)
    assert (broken.status, "Budget broken on general text" in broken.out) == (3, True)
    rise = read_json(here / "runs" / "broken" / "report.json")["groups"]["general"]["change"]
    assert rise["low"] > 0.02
    between = (rise["estimate"] + rise["high"]) / 2
    unproven = bloomery("run", "recipe.yaml", *KEPT, "name=unproven", f"keep.general={between}", within=here)
    assert (unproven.status, "would settle it" in unproven.out) == (4, True), unproven.out
    assert json.loads(bloomery("runs", "--json", within=here).out)[0]["status"] == "unproven"


def test_a_pipeline_ends_where_its_budget_is_broken_and_says_how_to_go_on(here: Path) -> None:
    steps = "steps=[{do: train, name: read}, evaluate, {do: train, name: again}, evaluate, export]"
    held = bloomery("run", "recipe.yaml", *KEPT, "name=held", "keep.general=0.01%", steps, within=here)
    assert held.status == 3
    assert "The steps after it were not run" in held.out and "`start: runs/held/steps/1-read`" in held.out, held.out
    on = bloomery("run", "recipe.yaml", *KEPT[:2], "name=on", "start=runs/held/steps/1-read", within=here)
    assert on.status == 0, on.err


STILL = "{do: train, name: again, set: {schedule.lr: 1e-9}}"


@pytest.mark.parametrize("steps", [f"train, {STILL}, evaluate, export", f"train, {STILL}, export"])
def test_a_pipeline_is_judged_against_its_own_first_start(here: Path, steps: str) -> None:
    still = ("keep.general=1%", f"steps=[{steps}]", "name=piped")
    done = bloomery("run", "recipe.yaml", *KEPT, *still, within=here)
    report = read_json(here / "runs" / "piped" / "report.json")
    assert abs(report["groups"]["general"]["change"]["estimate"]) < 1e-4  # the last training changed nothing
    assert report["from_origin"]["groups"]["general"]["change"]["low"] > 0.01
    assert [verdict["status"] for verdict in report["keep"]] == ["within", "broken"]
    assert (done.status, report["status"]) == (3, "broken")
    assert "against the first start, toy/hot" in done.out


def test_a_budget_of_an_earlier_training_is_judged_at_the_end(here: Path) -> None:
    first = "{do: train, name: read, set: {keep: {general: 1%}}}"
    steps = f"steps=[{first}, {STILL}, export]"
    assert bloomery("run", "recipe.yaml", *KEPT, steps, "name=late", within=here).status == 3
    (verdict,) = read_json(here / "runs" / "late" / "report.json")["keep"]
    assert (verdict["against"], verdict["budget"]) == ("the first start, toy/hot", 0.01)


def test_arms_and_seeds_stand_in_the_report(here: Path) -> None:
    blended = ("model=null", "family=toy", "start=hot", "data.curated=auto", "budget=1k tokens")
    done = bloomery(
        "run", "recipe.yaml", *blended, "name=proof", "arms=[domain-only,curated-only]", "seeds=2", within=here
    )
    assert done.status == 0, done.err
    run = here / "runs" / "proof"
    arms = {path.name for path in (run / "arms").iterdir()}
    assert arms >= {"blend-seed1", "domain-only-seed0", "curated-only-seed0"}
    report = read_json(run / "report.json")
    assert {arm["name"] for arm in report["arms"]} == {"domain-only", "curated-only"}
    assert len(report["seeds"]["domain"]["changes"]) == 2
    beside = report["seeds_against_control"]["general"]["changes"]
    for seed, change in enumerate(beside):
        own, control = (general_bits(run / "eval" / f"{arm}-seed{seed}") for arm in ("blend", "curated-only"))
        assert change == pytest.approx(own / control - 1, abs=1e-9)
    assert report["against_control"]["general"]["change"]["estimate"] == pytest.approx(sum(beside) / 2)
    assert all(len(arm["seeds"]["general"]["changes"]) == 2 for arm in report["arms"])
    assert len(report["proof"]["gain_kept_seeds"]["changes"]) == 2
    text = (run / "report.md").read_text()
    assert "General" in text and "domain-only over seeds" in text and "outer bounds over 2 seeds" in text


def general_bits(place: Path) -> float:
    """General bits per byte of one evaluation."""
    suites: list[dict[str, float]] = read_json(place / "evaluation.json")["suites"]
    return next(suite["value"] for suite in suites if suite["group"] == "general")


def test_a_run_continues_from_a_run_by_another_method(here: Path) -> None:
    toy = ("model=null", "family=toy", "data.curated=auto", "budget=1k tokens")
    assert bloomery("run", "recipe.yaml", *toy, "name=first", "start=hot", within=here).status == 0
    second = bloomery("run", "recipe.yaml", *toy, "name=second", "start=first", "method=lora", within=here)
    assert second.status == 0, second.err
    assert bloomery("run", "recipe.yaml", "name=third", "model=runs/second/model", within=here).status == 0
    shown = bloomery("models", "--json", within=here)
    chains = {model["name"]: model["ancestry"] for model in json.loads(shown.out)}
    assert chains == {
        "third": ["second", "first", "toy/hot"],
        "second": ["first", "toy/hot"],
        "first": ["toy/hot"],
    }
    assert "Lineage: second ← first ← toy/hot" in (here / "runs" / "second" / "model" / "README.md").read_text()


def test_a_pairs_own_response_is_what_its_answers_are_graded_against(here: Path) -> None:
    graded = ("data.domain=pairs.jsonl", "eval={grader: {type: number}}", "budget=1k tokens")
    done = bloomery("run", "recipe.yaml", "name=graded", *graded, within=here)
    assert done.status == 0, done.err
    report = read_json(here / "runs" / "graded" / "report.json")
    answers = next(change for change in report["changes"] if change["name"] == "pairs answers")
    assert answers["examples"] > 0 and answers["unscorable"] == 0 and report["ungraded"] == []


def test_compare_accounts_for_every_graded_answer() -> None:
    before = evaluation("a", scores("answers", "domain", [1.0] * 8 + [0.0] * 8 + [None] * 4))
    after = evaluation("b", scores("answers", "domain", [1.0] * 6 + [0.0] * 6 + [1.0] * 4 + [None] * 4))
    found = Compared(compare(before, after), ungraded([before, after]))
    assert "right to wrong 2, wrong to right 4" in str(found) and "stayed right 6, stayed wrong 4" in str(found)
    assert "4 of 20 answers of a to answers could not be graded" in str(found)
    book = json.loads(json.dumps(found.to_json(), allow_nan=False))["domain"]["ledger"]
    assert (book["lost"], book["gained"], book["stayed_right"], book["stayed_wrong"]) == (2, 4, 6, 4)


def test_a_grader_that_can_grade_nothing_is_refused_before_training(here: Path) -> None:
    graded = ("data.domain=pairs.jsonl", "eval={grader: {type: constraint}}", "budget=1k tokens")
    refused = bloomery("run", "recipe.yaml", "name=vain", *graded, within=here)
    assert (refused.status, "answers to `pairs answers` could be graded" in refused.err) == (2, True), refused.err
    assert "step 1/" not in refused.err


def test_one_evaluation_document_is_refused_by_its_key(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (here / "heldout.jsonl").read_text().splitlines()
    (here / "one.jsonl").write_text(rows[0] + "\n")
    refused = bloomery("run", "recipe.yaml", "name=one", "eval=one.jsonl", within=here)
    assert (refused.status, "`eval.domain` holds 1 document" in refused.err) == (2, True), refused.err
    (here / "few.jsonl").write_text("\n".join(rows[:5]) + "\n")
    monkeypatch.setattr("bloomery.recipes.evaluating.SECONDS", 0.0)
    few = bloomery("run", "recipe.yaml", "name=few", "eval=few.jsonl", "budget=1k tokens", within=here)
    assert (few.status, "raise `eval.domain` to 10" in few.err) == (0, True), few.err
    assert re.search(r"evaluating tiny: suite \d of \d, few: 5 of 5 rows\n", few.err), few.err
    assert "Too few documents to tell of domain text" in few.out


def test_two_evaluation_rows_of_one_id_are_refused_before_training(here: Path) -> None:
    rows = [
        json.loads(line) | {"id": n % 9} for n, line in enumerate((here / "heldout.jsonl").read_text().splitlines())
    ]
    write_rows(here / "twice.jsonl", rows)
    refused = bloomery("run", "recipe.yaml", "name=twice", "eval=twice.jsonl", within=here)
    assert refused.status == 2 and "twice.jsonl:10: the row's `id: 0` is that of row 1, too" in refused.err, refused.err


def test_a_scaffold_is_measured_as_the_run_that_starts_from_it_does(here: Path) -> None:
    toy = (here / "families" / "toy.yaml").read_text()
    empty = "checkpoints:\n  empty: {folder: ../tiny, empty: true}"
    (here / "families" / "toy.yaml").write_text(toy.replace("checkpoints:", empty))
    made = ("model=null", "family=toy", "start=empty", "data.curated=none", "seed=3", "name=grown")
    assert (done := bloomery("run", "recipe.yaml", *made, within=here)).status == 0, done.err
    report = read_json(here / "runs" / "grown" / "report.json")
    compared = bloomery("compare", "toy/empty", "grown", "--data", "heldout.jsonl", "--json", within=here)
    assert compared.status == 0, compared.err
    assert json.loads(compared.out)["domain"]["before"] == pytest.approx(report["groups"]["domain"]["before"])
    alone = bloomery("eval", "toy/empty", "--data", "heldout.jsonl", within=here)
    assert (alone.status, "heldout" in alone.out) == (0, True), alone.err
    shown = bloomery("show", "grown", within=here)
    assert "not on this machine" not in shown.out and "no weights: drawn at random" in shown.out


def test_pairs_are_fine_tuned_and_held_out_by_themselves(here: Path) -> None:
    done = bloomery("run", "recipe.yaml", "name=sft", "data.domain=pairs.jsonl", "eval=null", within=here)
    assert done.status == 0, done.err
    receipt = read_json(here / "runs" / "sft" / "data-receipt.json")
    assert receipt["held_out"]["pairs"]["documents"] > 0
    assert receipt["sources"]["pairs"]["masked"] > 0
    assert read_json(here / "runs" / "sft" / "plan.json")["values"]["objective"]["value"] == "sft"
