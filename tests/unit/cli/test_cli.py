"""Laws of the command line: quick help, one paragraph an error, a status for each kind of error, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bloomery as package

VERBS = (
    "init", "run", "resume", "explain", "schema", "data", "eval", "compare", "ask", "export", "merge", "runs", "models",
    "show", "families", "doctor", "tokenizer",
)  # fmt: skip
HEAVY = ("torch", "transformers", "numpy", "pydantic", "ruamel.yaml", "rich")


def bloomery(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from bloomery.cli import main; main()"
    return python(code, *arguments, cwd=cwd, **environment)


def python(
    code: str, *arguments: str, cwd: Path, answers: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), **environment}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, input=answers, capture_output=True, text=True, cwd=cwd, env=env)


def test_help_names_every_verb_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bloomery.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('heavy:', [m for m in {HEAVY} if m in sys.modules])"
    )
    done = python(code, cwd=tmp_path)
    assert "heavy: []" in done.stdout
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", done.stdout, re.MULTILINE), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    from typer.testing import CliRunner

    from bloomery.cli import app

    text = CliRunner().invoke(app, [verb, "--help"]).output
    nested = {"data": "show", "families": "list"}.get(verb)
    if nested:
        text = CliRunner().invoke(app, [verb, nested, "--help"]).output
    assert re.search(rf"^  bloomery {verb}", text, re.MULTILINE), text


def test_version(tmp_path: Path) -> None:
    assert bloomery("--version", cwd=tmp_path).stdout.strip() == f"bloomery {package.__version__}"


def test_an_error_is_one_paragraph_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("family: ember\nbudgett: 2M tokens\n")
    done = bloomery("explain", "r.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "r.yaml:2: there is no key `budgett` (did you mean `budget`?)" in done.stderr
    assert "Traceback" not in done.stderr
    assert bloomery("exlain", cwd=tmp_path).returncode == 2


def test_explain_refuses_with_status_2_and_prints_json(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("family: ember\ndata: {domain: gone.jsonl}\n")
    done = bloomery("explain", "r.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["can_run"] is False
    assert "does not exist" in found["problems"][0]


def test_init_writes_a_recipe_without_asking_where_told_to(tmp_path: Path) -> None:
    done = bloomery("init", "project", "--share", "40%", "-y", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "share: 40%" in (tmp_path / "project" / "recipe.yaml").read_text()


def test_init_asks_five_questions(tmp_path: Path) -> None:
    code = "from bloomery.cli import main; main()"
    done = python(code, "init", "project", cwd=tmp_path, answers="ember\ndemo\n30%\n2 epochs\n2%\n")
    assert done.returncode == 0, done.stderr
    assert "budget: 2 epochs" in (tmp_path / "project" / "recipe.yaml").read_text()


def test_nothing_is_coloured_when_piped(tmp_path: Path) -> None:
    for environment in ({}, {"NO_COLOR": "1", "FORCE_COLOR": ""}):
        text = bloomery("families", "show", "ember", cwd=tmp_path, **environment).stdout
        assert "midtrained-warm" in text
        assert "\x1b[" not in text


def test_families_and_runs_are_listed_for_people_and_programs(tmp_path: Path) -> None:
    assert "ember" in bloomery("families", "list", cwd=tmp_path).stdout
    assert json.loads(bloomery("families", "list", "--json", cwd=tmp_path).stdout)[0]["name"] == "ember"
    assert "no runs in runs yet" in bloomery("runs", cwd=tmp_path).stdout
    assert json.loads(bloomery("runs", "--json", cwd=tmp_path).stdout) == []
    assert bloomery("show", "nothing", cwd=tmp_path).returncode == 2


def test_the_schema_is_json(tmp_path: Path) -> None:
    assert json.loads(bloomery("schema", cwd=tmp_path).stdout)["title"] == "Recipe"
