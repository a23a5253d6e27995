"""Laws of the command line: quick help, one paragraph an error, a status for each kind of error, JSON for programs."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bloomery as package
from bloomery.cli import main

VERBS = (
    "init", "run", "resume", "explain", "schema", "data", "eval", "compare", "ask", "export", "merge", "runs", "models",
    "show", "families", "doctor", "tokenizer", "grade", "policy", "review", "serve",
)  # fmt: skip
HEAVY = ("torch", "transformers", "numpy", "pydantic", "ruamel.yaml", "rich")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bloomery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a verb in an empty working folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, answers: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


def test_help_names_every_verb_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bloomery.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('heavy:', [m for m in {HEAVY} if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert "heavy: []" in done.stdout, done.stderr
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", done.stdout, re.MULTILINE), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(bloomery: Call, verb: str) -> None:
    nested = {
        "data": ["show"],
        "families": ["list"],
        "grade": ["validate"],
        "policy": ["check"],
        "review": ["fit"],
    }.get(verb, [])
    status, text, _ = bloomery(verb, *nested, "--help")
    assert status == 0
    assert re.search(rf"^  bloomery {verb}", text, re.MULTILINE), text


def test_version(bloomery: Call) -> None:
    assert bloomery("--version")[1].strip() == f"bloomery {package.__version__}"


def test_an_error_is_one_paragraph_with_status_2(bloomery: Call, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("family: ember\nbudgett: 2M tokens\n")
    status, out, err = bloomery("explain", "r.yaml")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "r.yaml:2: there is no key `budgett` (did you mean `budget`?)" in err
    assert "\n\n" not in err.strip()


def test_a_misspelt_verb_is_answered_with_the_nearest_one(bloomery: Call) -> None:
    status, _, err = bloomery("exlain")
    assert status == 2
    assert "Did you mean 'explain'?" in err


def test_explain_refuses_with_status_2_and_prints_json(bloomery: Call, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("family: ember\ndata: {domain: gone.jsonl}\n")
    status, out, _ = bloomery("explain", "r.yaml", "--json")
    assert status == 2
    assert json.loads(out)["can_run"] is False
    assert "does not exist" in json.loads(out)["problems"][0]


def test_init_writes_a_recipe_without_asking_where_told_to(bloomery: Call, tmp_path: Path) -> None:
    status, out, err = bloomery("init", "project", "--share", "40%", "-y")
    assert status == 0, err
    assert "bloomery run project/recipe.yaml" in out
    assert "share: 40%" in (tmp_path / "project" / "recipe.yaml").read_text()


def test_init_asks_five_questions(bloomery: Call, tmp_path: Path) -> None:
    status, out, err = bloomery("init", "project", answers="ember\ndemo\n30%\n2 epochs\n2%\n")
    assert status == 0, err
    assert out.count("?") == 5
    assert "budget: 2 epochs" in (tmp_path / "project" / "recipe.yaml").read_text()


def test_nothing_is_coloured_when_piped(bloomery: Call) -> None:
    text = bloomery("families", "show", "ember")[1]
    assert "midtrained-warm" in text
    assert "\x1b[" not in text


def test_colour_is_left_out_where_no_color_asks_for_it(bloomery: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", bloomery("explain", "demo")[1])


def test_families_and_runs_are_listed_for_people_and_programs(bloomery: Call) -> None:
    assert "ember" in bloomery("families", "list")[1]
    assert "ember" in {family["name"] for family in json.loads(bloomery("families", "list", "--json")[1])}
    assert "no runs in runs yet" in bloomery("runs")[1]
    assert json.loads(bloomery("runs", "--json")[1]) == []
    status, _, err = bloomery("show", "nothing")
    assert status == 2
    assert "there is no run `nothing`" in err


def test_the_schema_is_json(bloomery: Call) -> None:
    assert json.loads(bloomery("schema")[1])["title"] == "Recipe"
