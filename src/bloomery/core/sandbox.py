"""A user's Python function, called in a process of its own that is killed when it takes too long or too much.

Every level promises: a time limit for each call, a memory limit, no environment variables but the few of
`sandbox_level.py` (so no secrets), an empty folder to work in, and a crash or a hang that costs one item, never the
caller. Only `isolated` keeps the code from the caller's files and network; `trusted` promises nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bloomery.core import sandbox_worker
from bloomery.core.errors import InputError, Where
from bloomery.core.sandbox_jail import NO_WALLS, TOO_MUCH_MEMORY
from bloomery.core.sandbox_level import BOX, Level, Limits, command, environment, require

MAX_LINE = 1 << 20
"""Largest result of one call, in bytes of JSON."""
START_SECONDS = 60.0
"""What a function's own imports may take before its first call."""
GIVE_UP_AFTER = 3
"""Items in a row that may take the process with them before the rest is given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call returned (any JSON value), or `error`: why there is no value."""

    value: Any = None
    error: str | None = None


def call_each(
    file: Path, function: str, items: Sequence[Any], limits: Limits, level: Level = "process", spread: bool = False
) -> list[Outcome]:
    """Call `function(item)` of a Python file for every JSON item; one outcome each, in order.

    With `spread`, an item's own items (a list) or keys (a mapping) are the arguments. Coroutines are awaited.

    A call that raises, hangs, dies or returns no JSON has an `error`; the others keep their values. At `isolated` the
    function sees no other file than its own. Raises `InputError` when the file is missing, does not import or lacks
    the function, or the machine does not offer the level.
    """
    if not file.is_file():
        raise InputError("is not a file", where=Where(file), fix="name a Python file that defines the function")
    require(level)
    if level == "trusted":
        return _here(file, function, items, spread)
    outcomes: list[Outcome] = []
    died = 0
    while len(outcomes) < len(items):
        if died == GIVE_UP_AFTER:
            gone = Outcome(error=f"not called: the {died} calls before it took the process down")
            outcomes += [gone] * (len(items) - len(outcomes))
            break
        found = _run(file.resolve(), function, items[len(outcomes) :], limits, level, spread)
        whole = found and found[-1].error is None
        died = 0 if whole or len(found) > 1 else died + 1
        outcomes += found
    return outcomes


def _here(file: Path, function: str, items: Sequence[Any], spread: bool) -> list[Outcome]:
    """The calls in this process: what the code breaks, it breaks here."""
    try:
        called = sandbox_worker.load(file.resolve(), function)
    except Exception as error:
        raise InputError(f"the function cannot be used: {error}", where=Where(file)) from error
    answers = (json.loads(sandbox_worker.call(called, item, spread, Exception)) for item in items)
    return [Outcome(answer.get("value"), answer.get("error")) for answer in answers]


def _run(file: Path, function: str, items: Sequence[Any], limits: Limits, level: Level, spread: bool) -> list[Outcome]:
    """Outcomes up to and including the first item that took the process down."""
    with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
        process = subprocess.Popen(
            _command(Path(folder), file, {"function": function, "items": list(items), "spread": spread}, limits, level),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment("/tmp" if level == "isolated" else folder),  # noqa: S108
            cwd=folder,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            return _collect(_Lines(process.stdout), process, file, len(items), limits)
        finally:
            end(process)
            process.stdout.close()


def _command(folder: Path, file: Path, job: dict[str, Any], limits: Limits, level: Level) -> list[str]:
    """The command line of a worker that has the items of `job` to call the function with."""
    budget = int(START_SECONDS + limits.seconds * len(job["items"])) + 1
    job |= {"file": str(file), "memory": limits.memory, "cpu_seconds": budget}
    worker = Path(sandbox_worker.__file__).read_text()
    files = {"sandbox_worker.py": worker}
    if level == "isolated":
        files[file.name] = file.read_text()
        job["file"] = f"{BOX}/{file.name}"
    files["job.json"] = json.dumps(job)
    return command(level, folder, ["sandbox_worker.py", "job.json"], files, limits, budget)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process started in a session of its own, and the children it left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
        if code == TOO_MUCH_MEMORY:
            return f"its processes together used more than {limits.memory >> 20:,} MB of memory"
        if code == NO_WALLS:
            return "its sandbox could not be built"
        return f"ended its process (exit status {code})" if code >= 0 else f"was killed by signal {-code}"
    return f"wrote more than {MAX_LINE:,} bytes"


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
