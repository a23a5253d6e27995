"""Whatever stops a run, at whichever moment: resumed, it ends with the bytes of a run that nothing stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from killed import run_to, start, until, wait
from tiny import Told, bloomery, documents, pairs, weights, write_rows

from bloomery.core.files import read_json, verify_folder

Finished = tuple[Path, Told]
MOMENTS = {
    "before the first checkpoint": ("bloomery.train.trainer:train_step", 2),
    "between two checkpoints": ("bloomery.train.trainer:train_step", 8),
    "half-way through a checkpoint": ("bloomery.train.checkpoint:publish_folder", 2),
    "between a checkpoint and dropping old ones": ("bloomery.train.checkpoint:prune", 3),
    "while the trained weights are proven": ("bloomery.models.export:_compare", 1),
    "while the model is evaluated": ("bloomery.evals.runner:evaluate", 2),
    "half-way through the report": ("bloomery.evals.write:write_text", 2),
    "half-way through the model": ("bloomery.recipes.publish:_link", 3),
}


def hidden(run: Path) -> list[str]:
    """What is left of half-written files and folders."""
    return [path.name for path in run.rglob(".*") if path.suffix in (".building", ".removing", ".tmp", ".probe")]


def same_result(run: Path, finished: Finished) -> None:
    whole = finished[0] / "runs" / "whole"
    assert weights(run) == weights(whole)
    verify_folder(run / "model")
    assert read_json(run / "data-receipt.json") == read_json(whole / "data-receipt.json")
    reports = [read_json(folder / "report.json") for folder in (run, whole)]
    assert reports[0]["groups"] == reports[1]["groups"]
    assert reports[0]["spent"]["tokens"] == reports[1]["spent"]["tokens"]
    assert hidden(run) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_is_bit_identical(here: Path, finished: Finished, moment: str) -> None:
    at, times = MOMENTS[moment]
    assert run_to(here, "run", "recipe.yaml", "name=whole", at=at, times=times) == -signal.SIGKILL
    run = here / "runs" / "whole"
    assert not (run / "model").exists()
    (listed,) = json.loads(bloomery("runs", "--json", within=here).out)
    assert listed["status"] == "interrupted"
    resumed = bloomery("resume", "whole", within=here)
    assert (resumed.status, resumed.out) == (0, finished[1].out)
    same_result(run, finished)


def test_killed_again_and_again_is_bit_identical(here: Path, finished: Finished) -> None:
    for verb in (("run", "recipe.yaml", "name=whole"), ("resume", "whole")):
        assert run_to(here, *verb, at="bloomery.train.trainer:train_step", times=5) == -signal.SIGKILL
    assert bloomery("resume", "whole", within=here).status == 0
    same_result(here / "runs" / "whole", finished)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first_and_says_how_to_go_on(here: Path, finished: Finished, number: int) -> None:
    ended = run_to(
        here, "run", "recipe.yaml", "name=whole", at="bloomery.train.trainer:train_step", times=5, number=number
    )
    assert ended == 128 + number
    assert "stopped after a checkpoint; continue with: bloomery resume whole" in (here / "said.txt").read_text()
    verify_folder(here / "runs" / "whole" / "checkpoints" / "step-00000005")
    asked = bloomery("ask", "whole", "Anybody?", within=here)
    assert (asked.status, "has no model yet\n  fix: bloomery resume whole" in asked.err) == (2, True)
    assert bloomery("resume", "whole", within=here).status == 0
    same_result(here / "runs" / "whole", finished)


@pytest.mark.parametrize("at", ["bloomery.recipes.run:prepare", "bloomery.evals.runner:evaluate"])
def test_interrupted_outside_a_training_it_says_how_to_go_on(here: Path, finished: Finished, at: str) -> None:
    assert run_to(here, "run", "recipe.yaml", "name=whole", at=at, number=signal.SIGINT) == 130
    assert "interrupted; continue with: bloomery resume whole\n" in (here / "said.txt").read_text()
    assert bloomery("resume", "whole", within=here).status == 0
    same_result(here / "runs" / "whole", finished)


def test_a_second_process_is_refused_and_nothing_is_lost(here: Path, finished: Finished) -> None:
    first = start(
        here, "run", "recipe.yaml", "name=whole", at="bloomery.train.trainer:train_step", times=5, number=signal.SIGSTOP
    )
    run = here / "runs" / "whole"
    until(lambda: (run / "checkpoints" / "step-00000003").is_dir(), first)
    second = bloomery("resume", "whole", within=here)
    assert second.status == 1
    assert f"run `whole` is in use by process {first.pid} on {os.uname().nodename}" in second.err
    assert second.err.endswith("fix: wait for it, or stop it\n") and "Traceback" not in second.err
    assert json.loads(bloomery("runs", "--json", within=here).out)[0]["status"] == "running"
    until(lambda: _stopped(first.pid or 0), first)
    os.kill(first.pid or 0, signal.SIGCONT)
    assert wait(first) == 0
    same_result(run, finished)


STEPS = """\
steps:
  - train
  - {do: train, name: pairs, set: {data: {domain: pairs.jsonl}, eval: pairs-heldout.jsonl}}
  - evaluate
  - export
"""


def test_a_pipeline_goes_on_at_the_training_that_was_killed(here: Path) -> None:
    (here / "recipe.yaml").write_text((here / "recipe.yaml").read_text() + STEPS)
    write_rows(here / "pairs-heldout.jsonl", pairs(900, 12))
    assert bloomery("run", "recipe.yaml", "name=whole", within=here).status == 0
    twice = ("bloomery.train.trainer:train_step", 12 + 5)
    assert run_to(here, "run", "recipe.yaml", "name=killed", at=twice[0], times=twice[1]) == -signal.SIGKILL
    resumed = bloomery("resume", "killed", within=here)
    assert (resumed.status, "training" in resumed.err) == (0, True), resumed.err
    runs = here / "runs"
    assert weights(runs / "killed") == weights(runs / "whole")
    assert "Lineage: killed ← 1-train ← tiny" in (runs / "killed" / "model" / "README.md").read_text()
    assert hidden(runs / "killed") == []


def test_a_refused_first_training_leaves_nothing(here: Path) -> None:
    (here / "recipe.yaml").write_text((here / "recipe.yaml").read_text() + STEPS)
    write_rows(here / "pairs-heldout.jsonl", pairs(900, 12))
    write_rows(here / "general.jsonl", [*documents("general", 0, 120), "{"])
    refused = bloomery("run", "recipe.yaml", "name=two", within=here)
    assert (refused.status, "general.jsonl:121: is not valid JSON" in refused.err) == (2, True)
    assert [path.name for path in (here / "runs").iterdir() if not path.name.startswith(".")] == []
    write_rows(here / "general.jsonl", documents("general", 0, 120))
    assert bloomery("run", "recipe.yaml", "name=two", "budget=256 tokens", within=here).status == 0


def test_a_stopped_pipeline_says_how_the_whole_goes_on(here: Path) -> None:
    (here / "recipe.yaml").write_text((here / "recipe.yaml").read_text() + STEPS)
    write_rows(here / "pairs-heldout.jsonl", pairs(900, 12))
    stopped = ("bloomery.train.trainer:train_step", 5)
    asked = ("run", "recipe.yaml", "--folder", "own/two")
    assert run_to(here, *asked, at=stopped[0], times=stopped[1], number=signal.SIGTERM) == 143
    assert "continue with: bloomery resume own/two" in (here / "said.txt").read_text()


def test_a_refused_second_training_costs_nothing_of_the_first(here: Path) -> None:
    (here / "recipe.yaml").write_text((here / "recipe.yaml").read_text() + STEPS)
    write_rows(here / "pairs-heldout.jsonl", ["{"])
    refused = bloomery("run", "recipe.yaml", "name=two", within=here)
    assert (refused.status, "pairs-heldout.jsonl:1: is not valid JSON" in refused.err) == (2, True)
    verify_folder(here / "runs" / "two" / "steps" / "1-train" / "model")
    write_rows(here / "pairs-heldout.jsonl", pairs(900, 12))
    resumed = bloomery("resume", "two", within=here)
    assert (resumed.status, resumed.err.count("training")) == (0, 1), resumed.err


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
