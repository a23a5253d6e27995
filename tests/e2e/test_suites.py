"""A family's suites may be generated or on the Hub, as its file may say; what cannot work is told before training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import FAMILY, RECIPE, bloomery

HEAD = RECIPE.replace("model: tiny", "family: toy\nstart: hot\nname: one").replace(
    "  curated: [{path: general.jsonl}]\n  share: 50%\n", ""
)
GENERATED = """\
  - {name: made, role: general, kind: bpb, builtin: skills, options: {stage: pre, count: 40, seed: 9}, limit: 6}
  - name: answers
    role: skills
    kind: generate
    builtin: skills
    options: {stage: post, count: 40, seed: 9}
    limit: 3
    max_new_tokens: 4
    grader: {type: curated}
"""


def with_suites(folder: Path, suites: str) -> None:
    (folder / "families" / "toy.yaml").write_text(FAMILY + suites)
    (folder / "recipe.yaml").write_text(HEAD)


def test_generated_suites_are_measured_by_a_run_and_by_eval(here: Path) -> None:
    with_suites(here, GENERATED)
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 0, told.err
    suites = json.loads((here / "runs" / "one" / "plan.json").read_text())["values"]["eval.suites"]["value"]
    (made, answers) = [Path(suite["path"]) for suite in suites if suite["name"] in ("made", "answers")]
    assert (len(made.read_text().splitlines()), len(answers.read_text().splitlines())) == (6, 3)
    assert made.stat().st_mode & 0o077 == 0
    measured = json.loads((here / "runs" / "one" / "eval" / "start" / "evaluation.json").read_text())["suites"]
    assert {"made", "answers", "old-things"} <= {suite["name"] for suite in measured}
    told = bloomery("eval", "one", "--suite", "made", "--suite", "answers", within=here)
    assert told.status == 0, told.err
    assert "made" in told.out and "answers" in told.out and "old-things" not in told.out


def test_a_suite_that_nothing_generates_is_refused_before_the_run(here: Path) -> None:
    with_suites(here, "  - {name: made, role: general, kind: bpb, builtin: skils}\n")
    told = bloomery("explain", "recipe.yaml", within=here)
    assert told.status == 2
    assert "the suite `made`: `builtin: skils` is no generated source (did you mean `skills`?)" in told.out


def test_a_suite_with_two_rows_of_one_id_is_refused_before_training(here: Path) -> None:
    (here / "twice.jsonl").write_text('{"id": "a", "text": "One."}\n\n{"id": "a", "text": "Two."}\n')
    with_suites(here, "  - {name: own, role: skills, kind: bpb, path: ../twice.jsonl}\n")
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 2 and "twice.jsonl:3: the row's `id: a` is that of row 1, too" in told.err, told.err


def test_a_suite_whose_rows_do_not_fit_is_refused_before_training(here: Path) -> None:
    with_suites(here, "  - {name: made, role: skills, kind: choice, builtin: skills, options: {count: 3}}\n")
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 2 and "row 1 of the suite `made` has no `prompt` and `choices`" in told.err, told.err
    assert not (here / "runs" / "one" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("toy/hot", "--suite", "old-thing"), "has no suite `old-thing` (did you mean `old-things`?)"),
        (("tiny", "--suite", "old-things"), "`--suite old-things` is no bundle and no file"),
    ],
)
def test_a_suite_that_is_not_there_is_refused_with_the_nearest(here: Path, asked: tuple[str, ...], says: str) -> None:
    told = bloomery("eval", *asked, within=here)
    assert (told.status, says in told.err) == (2, True), told.err


@pytest.mark.parametrize(("least", "status"), [("999.1", 2), ("4.48", 0)])
def test_a_family_that_needs_a_newer_transformers_says_which_is_here(here: Path, least: str, status: int) -> None:
    with_suites(here, "")
    family = here / "families" / "toy.yaml"
    family.write_text(family.read_text().replace("context: 128", f'context: 128\ntransformers: "{least}"'))
    told = bloomery("explain", "recipe.yaml", within=here)
    assert (told.status, "needs transformers 999.1 or newer, and " in told.out) == (status, status == 2), told.out
