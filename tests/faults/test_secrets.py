"""Fifty planted secrets: none may reach a run folder, a log, a card or an error message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from canaries import leaked, plant

WRITES_EVERYTHING = """
import sys
from pathlib import Path
from bloomery.core.errors import InputError
from bloomery.core.files import building_folder, write_json, write_text
from bloomery.core.secret import Secret
from bloomery.doctor import diagnose
from bloomery.launch.local import run_here
from bloomery.lineage import index
from bloomery.lineage.card import CardFacts, model_card
from bloomery.lineage.provenance import Start, gather, versions
from bloomery.lineage.rundir import RunFolder

root, key = Path(sys.argv[1]), Secret("JUDGE_KEY")
run = RunFolder.create(root, "first", recipe="reward: {key: {env: JUDGE_KEY}}\\n")
with run.writing() as log:
    log.write("provenance", **gather(Start("ember/midtrained"), run.recipe.read_text(), {}, {"data": 1}, argv=sys.argv))
    log.write("config", key=str(key), recipe=key.to_recipe())
    write_json(run.plan, {"reward": {"key": {"value": key.to_recipe(), "from": "user"}}})
with building_folder(run.model) as building:
    facts = CardFacts("first", "mit", "ember", [], [], [], {}, versions())
    write_text(building / "README.md", model_card(facts))
print(index.runs(root), index.models(root), diagnose(root))

def refused() -> int:
    raise InputError(f"the endpoint answered 401 to {key.reveal()}", fix=f"check {key}")

sys.exit(run_here(refused))
"""


def test_none_of_fifty_planted_secrets_is_written_down_anywhere(tmp_path: Path) -> None:
    canaries = plant()
    assert len(canaries) == 50
    argv = [sys.executable, "-c", WRITES_EVERYTHING, str(tmp_path), f"reward.key={canaries['JUDGE_KEY']}"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": "src", **canaries}
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert done.returncode == 2, done.stderr
    assert "JUDGE_KEY" in done.stderr
    assert leaked(canaries, [tmp_path], [done.stdout, done.stderr]) == []
    assert len(list(tmp_path.rglob("*"))) > 5


def test_a_planted_secret_that_does_leak_is_found(tmp_path: Path) -> None:
    canaries = plant()
    (tmp_path / "log.txt").write_text(f"key={canaries['HF_TOKEN']}")
    (tmp_path / canaries["PGPASSWORD"]).mkdir()
    found = leaked(canaries, [tmp_path], [f"error: {canaries['PLANTED_3']}"])
    assert [line.split(" in ")[0] for line in found] == ["PGPASSWORD", "HF_TOKEN", "PLANTED_3"]
