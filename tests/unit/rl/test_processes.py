"""Processes of environments: what cannot be started again is told, and nothing stays behind."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.rl.environments.apart import Apart, Program, rows_of
from bloomery.rl.environments.driving import Driving
from bloomery.rl.environments.interface import Call

Started = subprocess.Popen[bytes]


def process(*command: str) -> Started:
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


class Idle:
    """A journal in which nothing is under way."""

    def under_way(self, worker: str) -> Future[list[Any]]:
        found: Future[list[Any]] = Future()
        found.set_result([])
        return found


class Dying:
    """A program whose first process ends at once; `again` starts the others."""

    name, file = "Dying", Path("dying.py")

    def __init__(self, again: Callable[[], Started]) -> None:
        self.again, self.count = again, 0

    def started(self, script: Path, folder: str, job: Any) -> Started:
        self.count += 1
        return process("true") if self.count == 1 else self.again()


def driving(program: Dying) -> Driving:
    return Driving(program, {}, Idle())  # type: ignore[arg-type]


def test_a_process_that_cannot_be_started_again_ends_the_run() -> None:
    def again() -> Started:
        raise InputError("cannot be started")

    found = driving(Dying(again))
    found._thread.join(20)
    assert isinstance(found.error, InputError)
    found.close()


def test_a_process_that_is_started_while_it_is_closed_does_not_stay() -> None:
    begun, stopped, made = threading.Event(), threading.Event(), []

    def again() -> Started:
        begun.set()
        assert stopped.wait(20)
        made.append(process("sleep", "60"))
        return made[0]

    found = driving(Dying(again))
    assert begun.wait(20)
    closing = threading.Thread(target=found.close)
    closing.start()
    assert found._stop.wait(20)
    stopped.set()
    closing.join(20)
    assert made[0].poll() is not None and found.error is None


@pytest.mark.parametrize("ask", [lambda program: Apart(program, 5.0), lambda program: rows_of(program, 3)])
def test_an_interpreter_that_ends_before_it_has_read_is_named(ask: Callable[[Program], Any], tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("class Own: pass\n")
    with pytest.raises(InputError, match="its process ended"):
        ask(Program(file, "Own", {"much": "a" * 300_000}, "/bin/false"))


def test_a_process_that_died_leaves_no_thread(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import os\nclass Own:\n    def reset(self, row, seed): return []\n    def step(self, message): os._exit(3)\n"
    )
    before, apart = threading.active_count(), Apart(Program(file, "Own", {}), 20.0)
    for _ in range(2):
        apart.ask([Call(0, "reset", {"row": {}, "seed": 0})])
        [answer] = apart.ask([Call(0, "step", {"message": {}})])
        assert "died" in answer.fault
        apart.clear()
    until = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    apart.close()
    assert threading.active_count() <= before
