"""Judges by name on the command line, in suites and in recipes: who is asked, what is said of it, who is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import tiny

from bloomery.core.errors import InputError
from bloomery.recipes.explain import explain
from bloomery.recipes.judges import judge_names, with_judge
from bloomery.recipes.load import load_recipe
from bloomery.recipes.measuring import Asked, compare, evaluate, rank
from bloomery.recipes.resolve import resolve

LABEL = "{type: label_model, input: 'Is {{ sample.output_text }} fine?', labels: [good, bad], passing_labels: [good]%s}"
SUITE = "name: manners\nrole: skills\nkind: generate\nmax_new_tokens: 4\ngrader: %s\nrows:\n" + "".join(
    f"  - {{prompt: 'number {n}?'}}\n" for n in range(2)
)
PAIRS = "name: pairs\nrole: skills\nkind: pairwise\nmax_new_tokens: 4\ngrader: {type: pairwise%s}\nrows:\n" + "".join(
    f"  - {{prompt: 'number {n}?'}}\n" for n in range(3)
)
WIDE = {"max_position_embeddings": 1024}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny.model_folder(folder / name, seed, **WIDE) for seed, name in enumerate(("one", "two", "judge"))}


@pytest.fixture
def shop(tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    shop = tiny.workshop(tmp_path / "shop", models["one"])
    for name, folder in models.items():
        (shop / name).symlink_to(folder)
    monkeypatch.chdir(shop)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    return shop


def test_a_suite_names_its_judge_and_a_model_that_judges_itself_is_told(shop: Path) -> None:
    (shop / "own.yaml").write_text(SUITE % LABEL % ", judge: judge")
    (shop / "open.yaml").write_text((SUITE % LABEL % "").replace("manners", "open"))
    asked = Asked(suites=["own.yaml", "open.yaml"], judge="one", out=shop / "out")
    done = evaluate("one", asked)
    assert all(suite.unscorable == 0 for suite in done.result.suites.values())
    assert "manners is judged by judge" in str(done) and "judge, which" not in str(done)
    assert "open is judged by one, which is one itself: a model tends to prefer its own answers" in str(done)
    figures = {one["name"]: one for one in json.loads((shop / "out/evaluation.json").read_text())["suites"]}
    assert figures["open"]["judged_by_itself"] and not figures["manners"]["judged_by_itself"]


def test_two_models_are_judged_beside_each_other_on_prompts_of_ones_own(shop: Path) -> None:
    tiny.write_rows(shop / "ask.jsonl", [{"id": str(n), "prompt": f"number {n}?"} for n in range(3)])
    done = compare("one", "two", Asked([Path("ask.jsonl")], family=None, judge="judge", out=shop / "out"))
    [table] = done.tables
    assert (table.suite, table.models, table.pairs) == ("ask pairs", ("one", "two"), 3)
    assert "ask pairs: the answers beside each other" in str(done) and "ask pairs is judged by judge" in str(done)
    assert done.to_json()["pairs"][0]["models"] == ["one", "two"]
    file = shop / "out/pairs.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 3 and rows[0]["first"]["model"] == "one" and rows[0]["prompt"] == "number 0?"
    scores = [json.loads(line)["score"] for line in (shop / "out/before/records.jsonl").read_text().splitlines()]
    judged = [row["won_by_first"] for row in rows]
    assert scores == judged


def test_several_models_are_ranked_from_the_command_line(shop: Path) -> None:
    (shop / "pairs.yaml").write_text(PAIRS % "")
    told = tiny.bloomery(
        "compare", "one", "two", "judge", "--suite", "pairs.yaml", "--judge", "judge", "--out", "out", within=shop
    )
    assert told.status == 0, told.err
    assert "9 pairs of answers to 3 prompts, each judged in both orders" in told.out
    assert "pairs is judged by judge, which is judge itself" in told.out
    assert sorted(path.name for path in (shop / "out").iterdir()) == [
        "1-one", "2-two", "3-judge", "comparison.json", "pairs.jsonl"
    ]  # fmt: skip
    assert json.loads((shop / "out/comparison.json").read_text())["pairs"][0]["pairs"] == 9


@pytest.mark.parametrize(
    ("grader", "judge", "said"),
    [
        (
            LABEL % "",
            None,
            r"(?s)`label_model` has no judge to ask.*add `judge` to it, `eval.judge` to the recipe, or --j",
        ),
        (LABEL % ", judge: nobody", None, r"(?s)`judge: nobody`: `nobody` is no run, no model folder.*write a run"),
        (LABEL % "", "nobody", "`judge: nobody`: `nobody` is no run"),
        (
            LABEL % ", judge: {url: 'https://x.example/v1', model: m, key: {env: NO_SUCH_KEY}}",
            None,
            "NO_SUCH_KEY is not",
        ),
        ("{type: text_similarity, evaluation_metric: cosine}", None, "no embeddings to compare"),
        (LABEL % "", "https://x.example/v1", "an address alone does not say which model"),
        (f"{{type: multi, graders: {{a: {LABEL % ''}}}}}", None, "`graders.a`: grader `label_model` has no judge"),
    ],
)
def test_who_cannot_judge_is_refused_before_a_model_is_loaded(
    shop: Path, grader: str, judge: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery.recipes.measuring.opened", lambda found: pytest.fail("a model was loaded"))
    (shop / "s.yaml").write_text(SUITE % grader)
    with pytest.raises(InputError, match=said):
        evaluate("one", Asked(suites=["s.yaml"], judge=judge))


def test_a_server_is_described_in_a_file(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-123456")
    (shop / "judge.yaml").write_text("url: https://judge.example/v1\nmodel: big\nkey: {env: JUDGE_KEY}\n")
    assert Asked(judge="judge.yaml").judge == {
        "url": "https://judge.example/v1", "model": "big", "key": {"env": "JUDGE_KEY"}
    }  # fmt: skip
    (shop / "judge.yaml").write_text("- big\n")
    with pytest.raises(InputError, match="describes no judge"):
        Asked(judge="judge.yaml")


def test_what_is_no_suite_of_pairs_compares_two_models_and_not_three(shop: Path) -> None:
    (shop / "s.yaml").write_text(SUITE % "{type: exact}")
    with pytest.raises(InputError, match="`manners` of `kind: generate` compares two models, and 3 are named"):
        rank(["one", "two", "judge"], Asked(suites=["s.yaml"]))
    with pytest.raises(InputError, match="nothing to put the answers of 3 models beside each other on"):
        rank(["one", "two", "judge"], Asked())
    told = tiny.bloomery("compare", "one", within=shop)
    assert told.status == 2 and "`one` alone cannot be compared" in told.err


def test_a_graders_file_names_a_judge_beside_it(shop: Path) -> None:
    (shop / "graders").mkdir()
    (shop / "graders" / "near").symlink_to((shop / "judge").resolve())
    (shop / "graders" / "g.yaml").write_text(LABEL % ", judge: near")
    tiny.write_rows(shop / "rows.jsonl", [{"prompt": "q", "response": "a"}])
    told = tiny.bloomery("grade", "run", "graders/g.yaml", "--rows", "rows.jsonl", within=shop)
    assert told.status == 0 and "unscorable: 0" in told.out, told.err
    (shop / "graders" / "g.yaml").write_text(LABEL % ", judge: nobody")
    told = tiny.bloomery("grade", "run", "graders/g.yaml", "--rows", "rows.jsonl", within=shop)
    assert told.status == 2 and "g.yaml: `judge: nobody`: `nobody` is no run" in told.err


def test_a_judge_is_put_where_a_grader_names_none() -> None:
    inner = {
        "a": {"type": "score_model"},
        "b": {"type": "pairwise", "judge": "x"},
        "c": {"type": "label_model", "url": "u"},
    }
    found = with_judge({"type": "multi", "graders": inner}, "ember")
    assert [one.get("judge") for one in found["graders"].values()] == ["ember", "x", None]
    assert judge_names(found) == ["ember", "x"] and with_judge({"type": "exact"}, "ember") == {"type": "exact"}


def recipe(shop: Path, more: str) -> Any:
    (shop / "recipe.yaml").write_text(
        tiny.RECIPE.replace("eval: heldout.jsonl\n", f"eval: {{domain: heldout.jsonl, {more}}}\n")
    )
    return load_recipe(shop / "recipe.yaml")


def test_a_recipes_judge_is_in_its_plan_and_one_that_is_not_there_is_refused(shop: Path) -> None:
    (shop / "pairs.yaml").write_text(PAIRS % "")
    plan = resolve(recipe(shop, "judge: judge, suites: [pairs.yaml]"))
    [suite] = plan.get("eval.suites")
    assert suite["grader"] == {"type": "pairwise", "judge": str(shop / "judge")}
    for more, said in (
        ("suites: [pairs.yaml]", "the suite `pairs`: grader `pairwise` has no judge to ask"),
        ("judge: nobody, suites: [pairs.yaml]", "the suite `pairs`: `judge: nobody`: `nobody` is no run"),
        ("grader: {type: score_model, input: x, judge: nobody}", "`eval.grader`: `judge: nobody`"),
    ):
        problems = explain(recipe(shop, more)).problems
        assert len(problems) == 1 and said in problems[0].message and problems[0].fix, problems


def test_a_run_judges_its_start_and_arms_beside_each_other(shop: Path) -> None:
    (shop / "pairs.yaml").write_text(PAIRS % "")
    recipe(shop, "judge: judge, suites: [pairs.yaml]")
    told = tiny.bloomery("run", "recipe.yaml", "name=judged", within=shop)
    assert told.status == 0, told.err
    report = json.loads((shop / "runs/judged/report.json").read_text())
    [table] = report["pairs"]
    assert table["prompts"] == 3 and table["models"][:2] == ["tiny", "judged"] and table["unjudged"] == 0
    assert report["judged"] == [{"suite": "pairs", "judge": "judge", "itself": []}]
    assert "pairs: answers beside each other" in (shop / "runs/judged/report.md").read_text()
    assert "pairs is judged by judge" in (shop / "runs/judged/report.html").read_text()
    assert stat.S_IMODE((shop / "runs/judged/eval/pairs.jsonl").stat().st_mode) == 0o600
    change = next(one for one in report["changes"] if one["name"] == "pairs")
    assert change["examples"] == 3 and change["unscorable"] == 0


def test_a_served_model_answers_the_questions_of_its_own_policy(shop: Path) -> None:
    (shop / "policy.yaml").write_text(
        "categories:\n  own:\n    action: review\n    detectors:\n"
        "      - {ask: 'Is this bad? {text}', labels: ['yes', 'no'], flagged: ['yes']}\n"
    )
    body = {"model": "one", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (shop / "requests.jsonl").write_text(json.dumps(line) + "\n")
    options = ("--policy", "policy.yaml", "--log", "log.jsonl", "--batch", "requests.jsonl", "--out", "answers.jsonl")
    told = tiny.bloomery("serve", "one", *options, within=shop)
    assert told.status == 0 and "1 of 1 answered, 0 of them refused" in told.out, told.err
    reasons = [json.loads(event)["reason"] for event in (shop / "log.jsonl").read_text().splitlines()]
    assert set(reasons) <= {"the served model says `yes`"}
