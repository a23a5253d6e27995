"""Fifty planted secrets: none may reach a run folder, a log, a card or an error message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from canaries import leaked, plant
from tiny import bloomery

from bloomery.core.errors import BloomeryError
from bloomery.core.events import read_events
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.run import _writing
from bloomery.train.parallel import World

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


def test_a_secret_in_an_error_does_not_reach_the_event_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-4711")
    run = RunFolder.create(tmp_path, "first", recipe="{}")
    with pytest.raises(BloomeryError), _writing(run, World(0, 1, torch.device("cpu"))):
        raise BloomeryError("the endpoint answered 401 to canary-4711")
    assert [event["error"] for event in read_events(run.events, "failed")] == ["the endpoint answered 401 to [hidden]"]
    assert leaked({"JUDGE_KEY": "canary-4711"}, [tmp_path]) == []


def test_a_recipe_that_holds_a_secret_is_refused_before_anything_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-4711")
    monkeypatch.setenv("DATA_TOKEN", str(here / "domain.jsonl"))  # a path is no secret
    (here / "recipe.yaml").write_text((here / "recipe.yaml").read_text() + "name: my-canary-4711\n")
    told = bloomery("run", "recipe.yaml", f"data.domain.0.path={here / 'domain.jsonl'}", within=here)
    assert told.status == 2
    assert "`name` holds the value of the environment variable JUDGE_KEY" in told.err
    assert "write `{env: JUDGE_KEY}`" in told.err and "canary" not in told.err
    assert not (here / "runs").exists()
