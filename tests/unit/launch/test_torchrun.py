from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.launch.torchrun import child_environment, run_torchrun, torchrun_argv

REPORT = """
import os, pathlib, sys
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(os.environ["WORLD_SIZE"] + " " + sys.argv[2])
"""


def test_arguments_reach_the_command_as_they_are() -> None:
    argv = torchrun_argv("bloomery.cli", ["run", "a b.yaml", "name=$(id);x"], 2)
    assert argv[0] == sys.executable
    assert argv[argv.index("--nproc-per-node") + 1] == "2"
    assert argv[-4:] == ["bloomery.cli", "run", "a b.yaml", "name=$(id);x"]


def test_no_processes_and_no_module_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        torchrun_argv("bloomery.cli", [], 0)
    with pytest.raises(InputError, match="not a Python module"):
        torchrun_argv("bloomery.cli --help", [], 1)


def test_cores_are_divided_among_the_processes_unless_the_user_said() -> None:
    assert child_environment(1, {})["OMP_NUM_THREADS"] == str(os.cpu_count())
    assert child_environment(10_000, {})["OMP_NUM_THREADS"] == "1"
    assert child_environment(2, {"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"


@pytest.mark.multi
def test_every_rank_runs_with_its_arguments_and_the_status_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report_rank.py").write_text(REPORT)
    (tmp_path / "ends_badly.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_torchrun("report_rank", [str(tmp_path), "$(id) 'x'"], 2) == 0
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2 $(id) 'x'", "2 $(id) 'x'"]
    assert run_torchrun("ends_badly", [], 1) != 0


@pytest.mark.multi
def test_a_stop_request_reaches_every_rank(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        f"mark = pathlib.Path({str(tmp_path)!r}, 'rank' + os.environ['RANK'])\n"
        "signal.signal(signal.SIGTERM, lambda *_: (mark.write_text('stopped'), sys.exit(0)))\n"
        "mark.write_text('ready'); time.sleep(60)\n"
    )
    code = "import sys; from bloomery.launch.torchrun import run_torchrun; sys.exit(run_torchrun('waits', [], 2))"
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path('src').resolve()}"}
    marks = [tmp_path / "rank0", tmp_path / "rank1"]
    with subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 60
        while not all(m.exists() and m.read_text() == "ready" for m in marks) and time.monotonic() < deadline:
            time.sleep(0.1)
        parent.send_signal(signal.SIGTERM)
        parent.wait(30)
    assert [m.read_text() for m in marks] == ["stopped", "stopped"]
