"""A user's function may hang, crash, lie or leak: one item pays, the caller never does."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.core.sandbox import Limits, call_each


def write(folder: Path, body: str) -> Path:
    path = folder / "reward.py"
    path.write_text(f"import os, time\n{body}\n")
    return path


FAULTS = """
def grade(item):
    if item == "hang": time.sleep(60)
    if item == "spin":
        while True: pass
    if item == "exit": os._exit(7)
    if item == "raise": raise ValueError("no such unit")
    if item == "memory": return len(bytearray(10 << 30))
    if item == "object": return object()
    if item == "huge": return "x" * (3 << 20)
    if item == "print": print('{"value": 1000}')
    if item == "nan": return float("nan")
    return 1
"""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hang", "longer than 0.5 s"),
        ("spin", "longer than 0.5 s"),
        ("exit", "exit status 7"),
        ("raise", "ValueError: no such unit"),
        ("memory", "MemoryError"),
        ("object", "returned a object"),
        ("huge", "wrote more than"),
    ],
)
def test_a_fault_costs_its_own_item_and_no_other(tmp_path: Path, fault: str, reason: str) -> None:
    found = call_each(write(tmp_path, FAULTS), "grade", ["ok", fault, "ok"], Limits(seconds=0.5))
    assert [f.value for f in found] == [1, None, 1]
    assert reason in (found[1].error or "")


def test_a_function_that_always_hangs_is_given_up(tmp_path: Path) -> None:
    began = time.monotonic()
    found = call_each(write(tmp_path, FAULTS), "grade", ["hang"] * 50, Limits(seconds=0.2))
    assert time.monotonic() - began < 10
    assert len(found) == 50 and all(f.error for f in found)
    assert "not called" in (found[-1].error or "")


def test_what_it_prints_is_no_result_and_nan_comes_through_as_nan(tmp_path: Path) -> None:
    printed, nan = call_each(write(tmp_path, FAULTS), "grade", ["print", "nan"], Limits(seconds=5))
    assert printed.value == 1 and math.isnan(nan.value)


def test_no_secret_of_the_caller_is_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_TOKEN", "canary")
    path = write(tmp_path, "def grade(item): return [dict(os.environ), os.getcwd()]")
    environment, folder = call_each(path, "grade", [0], Limits())[0].value
    assert "canary" not in str(environment) and set(environment) & {"BLOOMERY_TOKEN", "PYTHONPATH"} == set()
    assert not Path(folder).exists()  # it worked in a folder of its own, now gone


def test_children_it_leaves_behind_are_killed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import subprocess, sys\ndef grade(item):\n"
        "    return subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid",
    )
    pid = call_each(path, "grade", [0], Limits())[0].value
    for _ in range(50):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child still runs")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def other(item): return 1", "no function `grade`"),
        ("import nowhere", "No module named"),
        ("os._exit(1)", "while importing"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_input_error(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call_each(write(tmp_path, body), "grade", [1], Limits())


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        call_each(tmp_path / "absent.py", "grade", [1], Limits())
