"""A user's Python function in a process of its own, killed when it takes too long or too much.

What it promises: a time limit for each call, a memory limit, no environment variables but the few
below (so no secrets), an empty folder to work in, and a crash or a hang that costs one item, never
the caller. What it does not promise: it runs with the caller's rights to files and network, so it is
for code the user trusts (`trusted: true`), not for code a model wrote.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bloomery.core.errors import InputError, Where

PASSED_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")
MAX_LINE = 1 << 20
"""Largest result of one call, in bytes of JSON."""
START_SECONDS = 60.0
"""What a function's own imports may take before its first call."""
GIVE_UP_AFTER = 3
"""Items in a row that may take the process with them before the rest is given up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use; memory is address space, libraries' included."""

    seconds: float = 10.0
    memory: int = 2 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call returned (any JSON value), or `error`: why there is no value."""

    value: Any = None
    error: str | None = None


def call_each(file: Path, function: str, items: Sequence[Any], limits: Limits) -> list[Outcome]:
    """Call `function(item)` of a Python file for every JSON item; one outcome each, in order.

    A call that raises, hangs, dies or returns no JSON has an `error`; the others keep their values.
    Raises `InputError` when the file is missing, does not import or lacks the function.
    """
    if not file.is_file():
        raise InputError("is not a file", where=Where(file), fix="name a Python file that defines the function")
    outcomes: list[Outcome] = []
    died = 0
    while len(outcomes) < len(items):
        if died == GIVE_UP_AFTER:
            gone = Outcome(error=f"not called: the {died} calls before it took the process down")
            outcomes += [gone] * (len(items) - len(outcomes))
            break
        found = _run(file.resolve(), function, items[len(outcomes) :], limits)
        whole = found and found[-1].error is None
        died = 0 if whole or len(found) > 1 else died + 1
        outcomes += found
    return outcomes


def _run(file: Path, function: str, items: Sequence[Any], limits: Limits) -> list[Outcome]:
    """Outcomes up to and including the first item that took the process down."""
    with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
        job = Path(folder, "job.json")
        job.touch(mode=0o600)
        budget = int(START_SECONDS + limits.seconds * len(items)) + 1
        job.write_text(
            json.dumps(
                {
                    "file": str(file),
                    "function": function,
                    "items": list(items),
                    "memory": limits.memory,
                    "cpu_seconds": budget,
                }
            )
        )
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("sandbox_worker.py")), str(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(folder),
            cwd=folder,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            return _collect(_Lines(process.stdout), process, file, len(items), limits)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # children it left behind, too
            process.wait()
            process.stdout.close()


def _collect(lines: _Lines, process: subprocess.Popen[bytes], file: Path, count: int, limits: Limits) -> list[Outcome]:
    first = lines.read(START_SECONDS)
    started = json.loads(first) if first else {"broken": "it ended, or took longer than a minute, while importing"}
    if "broken" in started:
        raise InputError(f"the function cannot be used: {started['broken']}", where=Where(file))
    outcomes: list[Outcome] = []
    for _ in range(count):
        line = lines.read(limits.seconds)
        if not line:
            outcomes.append(Outcome(error=_death(lines.timed_out, process, limits)))
            break
        result = json.loads(line)
        outcomes.append(Outcome(result.get("value"), result.get("error")))
    return outcomes


def _death(timed_out: bool, process: subprocess.Popen[bytes], limits: Limits) -> str:
    if timed_out:
        return f"took longer than {limits.seconds:g} s"
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(timeout=1)
        return f"ended its process (exit status {code})" if code >= 0 else f"was killed by signal {-code}"
    return f"wrote more than {MAX_LINE:,} bytes"


def _environment(folder: str) -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    return passed | {"HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class _Lines:
    """Lines of a pipe, each awaited no longer than asked and no larger than `MAX_LINE`."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.handle, self.buffer, self.timed_out = pipe.fileno(), b"", False

    def read(self, seconds: float) -> bytes:
        """The next line, or b"" when none came in time, it grew too large or the pipe was closed."""
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            self.timed_out = left <= 0 or not select.select([self.handle], [], [], left)[0]
            piece = b"" if self.timed_out else os.read(self.handle, 1 << 16)
            if not piece or len(self.buffer) > MAX_LINE:
                return b""
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line
