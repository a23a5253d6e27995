"""A forgetting budget, held while training: decisions change the blend, are logged, and outlive any interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from killed import run_to
from tiny import Told, bloomery, documents, weights, write_rows

from bloomery.core.events import read_events
from bloomery.core.files import read_json

RECIPE = """\
family: toy
start: hot
data:
  domain: [{path: domain.jsonl}]
  share: 70%
budget: 6k tokens
optim: {batch: 256 tokens}
schedule: {lr: 5e-3}
eval: {domain: [{path: heldout.jsonl}], every: 1 steps}
checkpoints: {every: 3 steps}
keep: {general: 0.2%, hold: true}
memory: {device: cpu, precision: fp32}
threads: 1
"""
STEPS = 24
SETTLED = int(0.15 * STEPS)
"""Steps before the first that trains: the start is hot."""


def begun(here: Path) -> Path:
    """The working folder with a model that knows the general text, and the recipe that holds it."""
    write_rows(here / "general.jsonl", documents("general", 0, 400))
    write_rows(here / "old.jsonl", documents("general", 1000, 40))
    known = RECIPE.replace("share: 70%", "share: 5%").replace("keep:", "# keep:").replace("5e-3", "2e-2")
    (here / "known.yaml").write_text(known.replace("budget: 6k", "budget: 12k"))
    told = bloomery("run", "known.yaml", within=here)
    assert told.status == 0, told.err
    (here / "tiny").unlink()
    (here / "tiny").symlink_to(here / "runs" / "known" / "model")
    (here / "held.yaml").write_text(RECIPE)
    return here


def decisions(run: Path) -> dict[int, dict[str, Any]]:
    """By step; a resumed run may say one twice."""
    found: dict[int, dict[str, Any]] = {}
    for event in read_events(run / "events.jsonl", "hold"):
        told = {key: value for key, value in event.items() if key != "time"}
        assert found.setdefault(told["step"], told) == told, "a repeated decision is the same"
    return found


@pytest.fixture(scope="module")
def held(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    from tiny import workshop

    here = begun(workshop(tmp_path_factory.mktemp("held") / "work", model))
    return here, bloomery("run", "held.yaml", within=here)


def test_decisions_are_logged_and_change_what_is_read(held: tuple[Path, Told]) -> None:
    here, told = held
    made = decisions(here / "runs" / "held")
    assert list(made) == list(range(1, STEPS + 1)), told.err
    assert all(0.01 <= one["replay"] <= 0.95 and 0.1 <= one["rate"] <= 1 for one in made.values())
    first = next(one for one in made.values() if one["did"] == "more replay")
    assert first["replay"] > first["replay_before"]
    assert first["start"] == first["step"] + 3
    assert made[STEPS]["did"] == "end"
    told_of = read_json(here / "runs" / "held" / "data-receipt.json")
    receipt = told_of["sources"]
    assert receipt["general"]["taken"]["share"] > 0.35, "it began with 0.3"
    assert receipt["general"]["taken"]["tokens"] == pytest.approx(receipt["general"]["taken"]["tokens_asked"], abs=200)
    assert told_of["held_out"]["general (slice)"]["documents"] == 32
    assert receipt["general"]["used_documents"] == 400 - 32


def test_the_report_shows_every_decision_and_says_what_came_of_them(held: tuple[Path, Told]) -> None:
    here, told = held
    run = here / "runs" / "held"
    report = read_json(run / "report.json")
    assert [look["step"] for look in report["held"]["looks"]] == list(range(1, STEPS + 1))
    taken = read_json(run / "data-receipt.json")["sources"]["general"]["taken"]["share"]
    assert report["held"]["domain_share"] == {
        "asked": pytest.approx(0.7),
        "realised": pytest.approx(1 - taken, abs=0.02),
    }
    assert told.status == report["exit_status"]
    said = "The budget could not be held: " if report["status"] == "broken" else "Steered by replay between "
    assert said in report["headline"] and said in told.out
    assert "## Held while training" in (run / "report.md").read_text()
    page = (run / "report.html").read_text()
    assert "Held while training" in page and "KL to the start" in page


@pytest.mark.parametrize("times", [8, 15])
def test_killed_and_resumed_it_decides_the_same(held: tuple[Path, Told], tmp_path: Path, times: int) -> None:
    here, _ = held
    whole = here / "runs" / "held"
    again = here / f"again{times}"
    killed = run_to(
        here, "run", "held.yaml", "--folder", str(again), at="bloomery.train.trainer:train_step", times=times
    )
    assert killed == -signal.SIGKILL
    resumed = bloomery("resume", str(again), within=here)
    assert resumed.status == held[1].status, resumed.err
    assert decisions(again) == decisions(whole)
    assert weights(again) == weights(whole)
    assert read_json(again / "data-receipt.json") == read_json(whole / "data-receipt.json")


def test_asked_to_stop_between_measurements_it_decides_nothing_more(held: tuple[Path, Told]) -> None:
    here, _ = held
    asked = ("run", "held.yaml", "eval.every=2 steps", "name=stopped")
    ended = run_to(here, *asked, at="bloomery.train.trainer:train_step", times=9 + SETTLED, number=signal.SIGTERM)
    assert ended == 128 + signal.SIGTERM
    assert max(decisions(here / "runs" / "stopped")) == 8
    whole = bloomery("run", "held.yaml", "eval.every=2 steps", "name=unstopped", within=here)
    assert bloomery("resume", "stopped", within=here).status == whole.status
    runs = here / "runs"
    assert weights(runs / "stopped") == weights(runs / "unstopped")
    assert decisions(runs / "stopped") == decisions(runs / "unstopped")


@pytest.mark.multi
def test_two_processes_decide_alike_and_as_one_does(held: tuple[Path, Told]) -> None:
    here, _ = held
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "bloomery.cli",
    ]
    told = subprocess.run(
        [*command, "run", "held.yaml", "name=two"], cwd=here, capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    one, two = (decisions(here / "runs" / name) for name in ("held", "two"))
    assert list(two) == list(range(1, STEPS + 1)), told.stderr[-2000:]
    assert [look["did"] for look in two.values()] == [look["did"] for look in one.values()]
    for step, look in two.items():
        assert look["rise"] == pytest.approx(one[step]["rise"], abs=1e-4)
        assert look["replay"] == pytest.approx(one[step]["replay"], abs=2e-3)
