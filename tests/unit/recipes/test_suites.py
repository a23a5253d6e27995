"""Suites by name and in files: what is found, what is refused, and what a run is measured by."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import tiny

from bloomery.core.errors import InputError
from bloomery.families.registry import load_family
from bloomery.recipes.judging import family_suites
from bloomery.recipes.load import recipe_from
from bloomery.recipes.measuring import Asked, compare, evaluate
from bloomery.recipes.resolve import resolve
from bloomery.recipes.responsible import bundle, extraction
from bloomery.recipes.suites import chosen, with_rows

QUIZ = "name: quiz\nrole: skills\nkind: generate\nrows: [{prompt: hi, reference_answer: ho}]\ngrader: {type: exact}\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shop = tiny.workshop(tmp_path / "shop", tiny.model_folder(tmp_path / "model"))
    monkeypatch.chdir(shop)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    return shop


def test_every_responsible_suite_has_rows_that_fit_its_kind(tmp_path: Path) -> None:
    suites = family_suites(with_rows(one, tmp_path) for one in bundle("responsible", Path()))
    assert {one.group for one in suites} == {
        "refusal", "over_refusal", "bias", "truthfulness", "injection", "toxicity", "privacy"
    }  # fmt: skip
    for suite in suites:
        rows = suite.load_rows()
        assert len({row["id"] for row in rows}) == len(rows) >= 10, suite.name


def test_refusals_are_never_measured_alone() -> None:
    ember = load_family("ember")
    for alone, missing in (("refusal", "over_refusal"), ("over-refusal", "refusal")):
        with pytest.raises(InputError, match=f"measured together with those of `role: {missing}`"):
            chosen(ember, "post", [alone])
    assert len(chosen(ember, "post", ["refusal", "over-refusal"])) == 2
    with pytest.raises(InputError, match="measured together"):
        resolve(
            recipe_from({"family": "ember", "data": {"domain": {"builtin": "skills"}}, "eval": {"suites": ["refusal"]}})
        )


def test_a_recipe_names_bundles_and_files_beside_the_familys_suites(shop: Path) -> None:
    (shop / "quiz.yaml").write_text(QUIZ)
    asked = {"suites": ["auto", "responsible", "quiz.yaml"], "domain": "heldout.jsonl"}
    plan = resolve(recipe_from({"family": "ember", "data": {"domain": "domain.jsonl"}, "eval": asked}))
    names = [suite["name"] for suite in plan.get("eval.suites")]
    assert {"documentation", "bias", "quiz"} <= set(names)
    plain = recipe_from({"model": "tiny", "data": {"domain": "domain.jsonl"}, "eval": {"suites": ["responsible"]}})
    assert "bias" in [suite["name"] for suite in resolve(plain).get("eval.suites")]
    with pytest.raises(InputError, match="`responsible`, or a file"):
        resolve(
            recipe_from({"family": "ember", "data": {"domain": "domain.jsonl"}, "eval": {"suites": ["responsibel"]}})
        )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (QUIZ + "sample: 3\n", 6, r"no key `sample` \(did you mean `samples`"),
        (QUIZ.replace("generate", "generated"), 3, "`kind: generated` must be"),
        (QUIZ + "path: x.jsonl\n", 1, "must have one of"),
        ("name: h\nrole: general\nkind: lm_eval\n", 1, "has `tasks`, and no rows"),
        ("suites:\n  - {name: x, role: general, kind: bpb}\n", 2, "must have one of"),
    ],
)
def test_a_file_of_suites_is_refused_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=said) as found:
        bundle("s.yaml", tmp_path)
    assert str(found.value.where) == f"{tmp_path / 's.yaml'}:{line}"


def test_code_runs_only_where_it_is_trusted(shop: Path) -> None:
    (shop / "own.py").write_text(
        "def suite(options):\n"
        "    rows = [{'prompt': str(n)} for n in range(3)]\n"
        "    return {'name': 'own', 'role': 'skills', 'rows': rows, 'max_new_tokens': 4}\n"
        "def grade(sample):\n    return 0.5\n"
    )
    with pytest.raises(InputError, match="with your rights"):
        evaluate("tiny", Asked(suites=["own.py"]))
    found = evaluate("tiny", Asked(suites=["own.py"], trusted=True, limit=2))
    assert found.result.suites["own"].value == 0.5
    assert len(found.result.suites["own"].records) == 2


@pytest.mark.parametrize(
    ("grader", "said"),
    [
        ("{type: multi, graders: {a: {type: python, path: gone.py, trusted: true}}}", "`graders.a`: there is no file"),
        ("{type: multi, graders: {a: {type: python, path: own.py}}}", "`graders.a`: grader `python` runs the Python"),
    ],
)
def test_a_grader_inside_another_is_refused_before_anything_is_answered(shop: Path, grader: str, said: str) -> None:
    (shop / "own.py").write_text("def grade(sample):\n    return 0.5\n")
    (shop / "quiz.yaml").write_text(QUIZ.replace("{type: exact}", grader))
    with pytest.raises(InputError, match=f"the suite `quiz`: {said}"):
        evaluate("tiny", Asked(suites=["quiz.yaml"]))


def test_a_metric_whose_file_is_missing_is_refused_before_anything_is_answered(shop: Path) -> None:
    metrics = "metrics: [{type: python, path: gone.py, name: own, trusted: true}]\n"
    (shop / "quiz.yaml").write_text(QUIZ + metrics)
    with pytest.raises(InputError, match=r"the suite `quiz`: its metric `own`: there is no file .*gone\.py"):
        evaluate("tiny", Asked(suites=["quiz.yaml"]))


def test_what_is_written_serves_a_browser_and_holds_rows_for_their_owner_only(shop: Path) -> None:
    (shop / "quiz.yaml").write_text(QUIZ + "max_new_tokens: 4\nmetrics: [f1]\n")
    done = compare("tiny", "tiny", Asked(suites=["quiz.yaml"], out=shop / "out"))
    assert [one["name"] for one in done.to_json()["figures"]] == ["score", "f1"]
    for side in ("before", "after"):
        records = shop / "out" / side / "records.jsonl"
        assert stat.S_IMODE(records.stat().st_mode) == 0o600
        [row] = [json.loads(line) for line in records.read_text().splitlines()]
        assert {"suite", "model", "id", "prompt", "answer", "reference", "score", "reason"} <= row.keys()
        assert "ho" not in (shop / "out" / side / "evaluation.json").read_text()


def test_a_measurement_tells_how_far_it_is(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery.recipes.evaluating.SECONDS", 0.0)
    said: list[str] = []
    evaluate("tiny", Asked([Path("heldout.jsonl")], say=said.append))
    rows = len((shop / "heldout.jsonl").read_text().splitlines())
    assert said[-1] == f"evaluating tiny: suite 1 of 1, heldout: {rows} of {rows} rows"


def test_results_in_lm_evals_form_have_its_keys(shop: Path) -> None:
    evaluate("tiny", Asked([Path("heldout.jsonl")], out=shop / "out", form="lm-eval", seed=3))
    [path] = (shop / "out").glob("results_*.json")
    [samples] = (shop / "out").glob("samples_heldout_*.jsonl")
    found: Any = json.loads(path.read_text())
    assert found["results"]["heldout"]["bits_per_byte,none"] > 0
    assert {"configs", "versions", "n-shot", "higher_is_better", "n-samples", "config"} <= found.keys()
    assert found["config"]["numpy_seed"] == 3
    assert stat.S_IMODE(samples.stat().st_mode) == 0o600
    first = json.loads(samples.read_text().splitlines()[0])
    assert {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "doc_hash"} <= first.keys()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"trained": Path("a")}, "give --trained and --control"),
        ({"form": "lm-eval"}, "add --out"),
        ({"form": "csv"}, "not bloomery or lm-eval"),
        ({"suites": ["responsibel"]}, "did you mean `responsible`"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(shop: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate("tiny", Asked(**keys))


def test_extraction_pairs_what_was_trained_on_with_what_was_not() -> None:
    suite = extraction(["a" * 300, "b" * 300], ["c" * 300])
    assert suite is not None
    assert [(row["text"][0], row["control"][0]) for row in suite["rows"]] == [("a", "c")]
    assert extraction(["a"], []) is None
