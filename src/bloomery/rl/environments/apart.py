"""Environments in processes of their own, in this interpreter or another: what hangs or dies is killed with them.

They are asked by lines of JSON; what they import never enters the trainer, and a rollout whose environment takes too
long, raises or dies is unscorable, while the others go on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.sandbox import end
from bloomery.core.sandbox_level import environment
from bloomery.rl.environments import worker
from bloomery.rl.environments.interface import Answer, Call

START_SECONDS = 120.0
"""What the imports of an environment, and making one, may take."""
LARGEST = 1 << 22
"""Bytes of one answer; one that is larger ends the process."""


@dataclass(frozen=True, slots=True)
class Program:
    """A class in a Python file, what it is made with, and the interpreter that runs it (empty: this one).

    `passed` names variables of our environment that it may see, beside the few that it needs to read text.
    """

    file: Path
    name: str
    kwargs: Mapping[str, Any]
    python: str = ""
    passed: tuple[str, ...] = ()

    def started(self, script: Path, folder: str, job: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """A process that runs `script` and is told `job` on its standard input; one that died at once says nothing."""
        variables = environment(folder) | {name: os.environ[name] for name in self.passed if name in os.environ}
        try:
            process = subprocess.Popen(
                [self.python or sys.executable, str(script)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, cwd=folder, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            message = f"`rollouts.environment.python: {self.python}` cannot be started: {error.strerror}"
            raise InputError(message, fix="name an interpreter: path/to/venv/bin/python") from None
        assert process.stdin is not None
        told = {"file": str(self.file), "class": self.name, "kwargs": dict(self.kwargs), **job}
        with contextlib.suppress(BrokenPipeError):  # it died: whoever reads tells
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
        return process


def rows_of(program: Program, count: int) -> list[dict[str, Any]]:
    """Up to `count` tasks that the environment has. Raises `InputError` where it cannot be loaded or has none."""
    with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
        process = program.started(Path(worker.__file__), folder, {"tasks": count})
        try:
            told = [json.loads(line) for line in process.communicate(timeout=START_SECONDS)[0].splitlines()]
        except subprocess.TimeoutExpired:
            told = [{"broken": f"it took longer than {START_SECONDS:g} s"}]
        finally:
            end(process)
    if not told or "ready" not in told[-1]:
        reason = told[-1].get("broken", "") if told else "its process ended"
        raise InputError(f"it tells no tasks: {reason}", where=Where(program.file), fix="bring rows of your own")
    return [one["row"] for one in told[:-1]]


class Apart:
    """`processes` processes, each with its part of the rollouts; `seconds` is what one call may take."""

    def __init__(self, program: Program, seconds: float, processes: int = 1) -> None:
        """Raises `InputError` where the environment cannot be loaded."""
        self._seconds = seconds
        self._parts = [_Process(program) for _ in range(processes)]
        self._parts[0].start()
        self.drives = self._parts[0].drives
        """Whether it has `run` in place of `step`: it drives its rollouts itself."""

    def ask(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers in order; every call is waited for as long as it may take, all of them together."""
        sent = [self._parts[call.seat % len(self._parts)].send(call) for call in calls]
        until = time.monotonic() + self._seconds
        return [one.answer(until, self._seconds) for one in sent]

    def clear(self) -> None:
        """Kill the processes in which something hangs; those that died are started again when they are asked."""
        for part in self._parts:
            part.clear()

    def close(self) -> None:
        """Kill them."""
        for part in self._parts:
            part.kill()


class _Sent:
    """A call that was sent, until it is answered."""

    def __init__(self, process: _Process) -> None:
        self._process, self._there = process, threading.Event()
        self._value: Any = None
        self._fault = ""

    def settle(self, value: Any = None, fault: str = "") -> None:
        """Its answer, or why there is none."""
        self._value, self._fault = value, fault
        self._there.set()

    def answer(self, until: float, seconds: float) -> Answer:
        """The answer, once it is there or the time is over."""
        if not self._there.wait(max(0.0, until - time.monotonic())):
            self._process.hangs = True
            return Answer(fault=f"the environment took longer than {seconds:g} s")
        return Answer(self._value, self._fault)


class _Process:
    """One process, its threads that write and read, and what they wait for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="bloomery-")
        self._waiting: dict[int, _Sent] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._seated: set[int] = set()
        self.hangs = self.drives = False

    def start(self) -> None:
        """Start it. Raises `InputError` where the environment cannot be loaded."""
        process = self._program.started(Path(worker.__file__), self._folder.name, {})
        assert process.stdin is not None and process.stdout is not None
        told = _first(process)
        if "ready" not in told:
            end(process)
            reason = told.get("broken", f"its process ended, or took longer than {START_SECONDS:g} s")
            message = f"the environment `{self._program.name}` of {self._program.file.name} cannot be used: {reason}"
            raise InputError(message, where=Where(self._program.file), fix="change `rollouts.environment`")
        self.drives = bool(told.get("drives"))
        self._process, self._lines, self._waiting = process, queue.SimpleQueue(), {}
        threading.Thread(target=_write, args=(process.stdin, self._lines), daemon=True).start()
        threading.Thread(target=self._read, args=(process, self._waiting, self._lines), daemon=True).start()

    def send(self, call: Call) -> _Sent:
        """Ask; where the process has died, rollouts that began in it get no answer."""
        sent = _Sent(self)
        if self._process is None and call.do == "reset":
            try:
                self.start()
            except InputError as error:  # it could be loaded before: this is a fault of the machine, or of time
                sent.settle(fault=error.message)
                return sent
        number = next(self._numbers)
        with self._lock:  # or it could die in between, and nobody would answer
            alive = self._process is not None and (call.do == "reset" or call.seat in self._seated)
            if alive:
                self._seated.add(call.seat)
                self._waiting[number] = sent
        if not alive:
            sent.settle(fault="the environment's process died")
            return sent
        told = {"id": number, "seat": call.seat, "do": call.do, "given": dict(call.given)}
        self._lines.put(json.dumps(told).encode() + b"\n")
        return sent

    def clear(self) -> None:
        """No seat is taken any more."""
        self._seated.clear()
        if self.hangs:
            self.kill()

    def kill(self) -> None:
        """End the process."""
        if self._process is not None:
            end(self._process)
        self._lines.put(None)
        self._process, self.hangs = None, False

    def _read(
        self, process: subprocess.Popen[bytes], waiting: dict[int, _Sent], lines: queue.SimpleQueue[bytes | None]
    ) -> None:
        """Hand answers to those who wait, until the process ends or says what is no answer."""
        assert process.stdout is not None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            while (line := process.stdout.readline(LARGEST)).endswith(b"\n"):
                told = json.loads(line)
                with self._lock:
                    sent = waiting.pop(told["id"])
                sent.settle(told.get("value"), f"the environment failed: {told['error']}" if "error" in told else "")
        end(process)
        lines.put(None)  # there is nobody to write to
        with self._lock:
            if self._process is process:
                self._process = None
                self._seated.clear()
            left = [waiting.pop(number) for number in [*waiting]]
        for sent in left:
            sent.settle(fault=f"the environment's process died (exit status {process.returncode})")


def _first(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The line with which a process says that it is ready, or why not; empty where it says nothing in time."""
    assert process.stdout is not None
    timer = threading.Timer(START_SECONDS, end, (process,))
    timer.start()
    try:
        line = process.stdout.readline(LARGEST)
    finally:
        timer.cancel()
    return dict(json.loads(line)) if line.endswith(b"\n") else {}


def _write(pipe: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    """Write what there is to write: a process that does not read holds up this thread alone."""
    try:
        while (line := lines.get()) is not None:
            pipe.write(line)
            pipe.flush()
    except OSError:
        pass  # it died; whoever reads tells
