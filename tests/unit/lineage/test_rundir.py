from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from bloomery.core.errors import BloomeryError, DamagedError, InputError, TrainingError
from bloomery.core.events import read_events
from bloomery.lineage.rundir import RunFolder, free_name, run_folders

RECIPE = "family: ember\n"


def test_a_new_run_holds_its_recipe_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "first", recipe=RECIPE)
    assert run.recipe.read_text() == RECIPE
    assert [p.name for p in run.path.iterdir()] == ["recipe.yaml"]
    assert run_folders(tmp_path / "runs") == [run] == [RunFolder.open(run.path)]


def test_a_folder_of_the_users_own_gets_a_run_and_nothing_beside_it(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "own" / "first", recipe=RECIPE)
    assert [p.name for p in run.path.parent.iterdir()] == ["first"]
    with pytest.raises(InputError, match="exists already"):
        RunFolder.at(run.path, recipe=RECIPE)
    with pytest.raises(InputError, match="refused"), run.writing():
        raise InputError("refused")
    assert list((tmp_path / "own").iterdir()) == []
    assert RunFolder.at(run.path, recipe=RECIPE) == run


def test_a_name_is_never_reused_even_after_its_folder_is_gone(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "first", recipe=RECIPE)
    with pytest.raises(InputError, match="never reused"):
        RunFolder.create(tmp_path, "First", recipe=RECIPE)
    shutil.rmtree(run.path)
    with pytest.raises(InputError, match="name=first-2"):
        RunFolder.create(tmp_path, "first", recipe=RECIPE)
    assert free_name(tmp_path, "first") == "first-2"
    assert free_name(tmp_path, "other") == "other"


def test_of_many_that_want_one_name_at_once_one_gets_it(tmp_path: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            RunFolder.create(tmp_path, "wanted", recipe=RECIPE)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a b", "-rf", ".hidden", "a" * 81, "x\n", "ünïcode", "$(id)"]
)
def test_names_that_are_no_plain_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a run"):
        RunFolder.create(tmp_path, name, recipe=RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "first", recipe=RECIPE)
    with run.writing() as log:
        log.write("start")
        assert run.in_use()
        with pytest.raises(BloomeryError, match=f"run `first` is in use by process {os.getpid()}"), run.writing():
            pass
    assert not run.in_use()
    assert [e["event"] for e in read_events(run.events)] == ["start"]


@pytest.mark.parametrize("error", [InputError("bad"), DamagedError("cut"), PermissionError(13, "closed")])
def test_a_run_that_was_refused_before_it_made_anything_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    run = RunFolder.create(tmp_path, "first", recipe=RECIPE)
    with pytest.raises(type(error)), run.writing():
        raise error
    assert run_folders(tmp_path) == []
    assert free_name(tmp_path, "first") == "first"


def test_a_run_that_stopped_itself_stays(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "first", recipe=RECIPE)
    with pytest.raises(TrainingError), run.writing():
        raise TrainingError("not finite")
    assert run_folders(tmp_path) == [run]


def test_a_killed_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "first", recipe=RECIPE)
    code = (
        "import os, signal, pathlib; from bloomery.lineage.rundir import RunFolder\n"
        f"with RunFolder(pathlib.Path({str(run.path)!r})).writing() as log:\n"
        "    log.write('start'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "src"}).returncode == -9
    with run.writing() as log:
        log.write("resume")
    assert [e["event"] for e in read_events(run.events)] == ["start", "resume"]


def test_a_full_disk_is_said_before_the_run_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="the disk is full"):
        RunFolder.create(tmp_path, "first", recipe=RECIPE)
    assert not (tmp_path / "first").exists()


def test_a_write_that_fails_midway_leaves_neither_folder_nor_used_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="the disk is full"):
            RunFolder.create(tmp_path, "first", recipe=RECIPE)
    assert not (tmp_path / "first").exists()
    assert RunFolder.create(tmp_path, "first", recipe=RECIPE).recipe.read_text() == RECIPE


def test_a_root_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.write_text("")
    with pytest.raises(InputError, match=r"runs: cannot be written to"):
        RunFolder.create(root, "first", recipe=RECIPE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        RunFolder.create(tmp_path, "first", recipe=RECIPE)


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        RunFolder.open(tmp_path / "none")
