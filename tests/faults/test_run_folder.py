"""Run folders on disks that are full or closed: said before anything is made, and nothing whole is ever lost."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import bloomery, documents, weights, write_rows

from bloomery.core import files
from bloomery.core.files import verify_folder
from bloomery.train import checkpoint


def test_a_file_where_the_runs_should_be(here: Path) -> None:
    (here / "runs").write_text("mine")
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 2
    assert told.err == "error: runs: cannot be written to: File exists\n  fix: choose a folder that you may write to\n"
    assert (here / "runs").read_text() == "mine"


def test_a_run_folder_below_a_file(here: Path) -> None:
    told = bloomery("run", "recipe.yaml", "--folder", "heldout.jsonl/deep/run", within=here)
    assert told.status == 2
    assert "cannot be written to: Not a directory\n  fix: choose a folder that you may write to" in told.err


def test_a_run_folder_that_is_there_already(here: Path) -> None:
    told = bloomery("run", "recipe.yaml", "--folder", "tiny", within=here)
    assert (told.status, told.err) == (2, "error: tiny: exists already\n  fix: choose another folder\n")
    verify_folder(here / "tiny")


def test_a_run_in_a_folder_of_the_users_leaves_nothing_beside_it(here: Path) -> None:
    before = {path.name for path in here.iterdir()}
    told = bloomery("run", "recipe.yaml", "--folder", "mine", "budget=256 tokens", within=here)
    assert told.status == 0, told.err
    assert bloomery("resume", "mine", within=here).status == 0
    assert {path.name for path in here.iterdir()} - before == {"mine"}
    write_rows(here / "domain.jsonl", [*documents("domain", 0, 100), {"text": "  "}])
    assert bloomery("run", "recipe.yaml", "--folder", "other", within=here).status == 2
    assert {path.name for path in here.iterdir()} - before == {"mine"}


def test_a_run_folder_named_in_full_among_the_runs_is_one_of_them(here: Path) -> None:
    told = bloomery("run", "recipe.yaml", "--folder", "runs/one", "budget=256 tokens", within=here)
    assert told.status == 0, told.err
    assert (here / "runs" / ".names").read_text() == "one\n"


def test_a_cache_that_cannot_be_written_to(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_CACHE", str(here / "recipe.yaml" / "cache"))
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 2 and "Traceback" not in told.err
    assert "cannot be used: Not a directory" in told.err
    assert not (here / "runs" / "recipe").exists()


def test_a_disk_too_small_is_refused_before_the_first_step(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 22}))
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 2
    assert "of disk" in told.err and "fix: free" in told.err
    assert not (here / "runs" / "recipe").exists()


def full(times: int) -> Callable[..., Any]:
    """Stands in for `save_file` on a disk that is full from the `times`th call on."""
    real, calls = checkpoint.save_file, 0

    def save(tensors: Any, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls >= times:
            path.write_bytes(b"the beginning")
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
        real(tensors, path)

    return save


def test_a_disk_that_fills_up_costs_one_checkpoint_only(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bloomery("run", "recipe.yaml", "name=whole", within=here).status == 0
    with monkeypatch.context() as tight:
        tight.setattr(checkpoint, "save_file", full(3))
        told = bloomery("run", "recipe.yaml", "name=tight", within=here)
    assert told.status == 1 and "Traceback" not in told.err
    assert told.err.endswith(
        "error: the disk is full; what was finished before is whole\n"
        "  fix: free some space, then go on where it stopped: bloomery resume RUN\n"
    )
    run = here / "runs" / "tight"
    for saved in ("step-00000003", "step-00000006"):
        verify_folder(run / "checkpoints" / saved)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000003", "step-00000006"]
    assert bloomery("resume", "tight", within=here).status == 0
    assert weights(run) == weights(here / "runs" / "whole")


@pytest.mark.parametrize("name", ["report.md", "evaluation.json", "README.md"])
def test_a_disk_that_fills_up_later_is_told_and_resumed(here: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = files.os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as tight:
        tight.setattr(files.os, "replace", replace)
        told = bloomery("run", "recipe.yaml", "name=tight", "budget=512 tokens", within=here)
    assert (told.status, "the disk is full" in told.err, name in told.err) == (1, True, True)
    assert bloomery("resume", "tight", within=here).status == 0
    assert not [path for path in (here / "runs" / "tight").rglob(".*") if path.name not in (".lock", ".recipe.yaml")]


def test_a_loss_that_is_not_finite_names_its_rows_and_publishes_nothing(here: Path) -> None:
    told = bloomery("run", "recipe.yaml", "name=wild", "schedule.lr=1e30", "optim.clip=1e9", within=here)
    assert told.status == 1 and "Traceback" not in told.err
    step, _, what = told.err[told.err.index("error: ") :].removeprefix("error: runs/wild: step ").partition(": ")
    assert step.isdecimal() and "is not finite; weights were left as they were" in what
    assert f"`bloomery data show RUN --step {step}`" in what
    named = told.err.partition("Rows of the step: ")[2]
    assert "domain/d" in named and "general/g" in named
    run = here / "runs" / "wild"
    assert not (run / "model").exists() and not (run / "weights").exists()
    assert list((run / "checkpoints").iterdir()) == []
    (listed,) = json.loads(bloomery("runs", "--json", within=here).out)
    assert listed["status"] == "failed"
