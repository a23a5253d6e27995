from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bloomery.lineage.provenance import Start, gather, git_commit, versions


def test_provenance_names_what_a_result_depends_on_and_is_json(tmp_path: Path) -> None:
    found = gather(
        Start("ember/midtrained"), "family: ember\n", {"a": "hash"}, {"data": 3}, tmp_path, ["bloomery", "run"]
    )
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["torch"]
    assert found["seeds"] == {"data": 3}
    assert found["commit"]["recipe"] is None
    assert len(found["recipe_sha256"]) == 64


def test_a_secret_on_the_command_line_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-5f1c0a77")
    found = gather(Start("x"), "", {}, {}, argv=["bloomery", "run", "reward.key=canary-5f1c0a77"])
    assert found["command"][-1] == "reward.key=[hidden]"


def test_the_commit_of_a_checkout_is_recorded_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert git_commit(tmp_path) is None
    git("init")
    (tmp_path / "recipe.yaml").write_text("a")
    git("add", ".")
    git("commit", "-m", "first")
    found = git_commit(tmp_path)
    assert found is not None
    assert found["changed"] is False
    (tmp_path / "recipe.yaml").write_text("b")
    assert git_commit(tmp_path) == {"commit": found["commit"], "changed": True}


def test_versions_are_read_without_importing_anything_heavy() -> None:
    code = "import sys; from bloomery.lineage.provenance import versions; versions(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})
    assert versions()["python"].startswith("3.")
