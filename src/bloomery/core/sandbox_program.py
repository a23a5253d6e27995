"""A whole Python program, run once at a sandbox level, with what it reads and what it may write."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.sandbox import end
from bloomery.core.sandbox_jail import NO_WALLS, TOO_MUCH_MEMORY
from bloomery.core.sandbox_level import Level, Limits, command, environment, require

MAX_OUTPUT = 1 << 20
"""Bytes of standard output that are read back; a program with more to say has gone astray."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: well where `problem` is empty. `broken`: the sandbox failed, so nothing is known of it."""

    output: str
    problem: str = ""
    broken: bool = False


def run_program(files: Mapping[str, str], main: str, given: str, limits: Limits, level: Level) -> Ran:
    """Run the file `main` of `files` (name -> text), with `given` as standard input.

    Raises `InputError` when the machine does not offer the level, and for `trusted`: a program is a process.
    """
    if level == "trusted":
        raise InputError("a program cannot run inside this process", fix="set `level: process` or `level: isolated`")
    require(level)
    with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
        read, written, work = (Path(folder, name) for name in ("read", "written", "work"))
        read.write_text(given)
        work.mkdir()
        argv = command(level, work, [main], files, limits, int(limits.seconds) + 1)
        with open(read, "rb") as stdin, open(written, "wb") as stdout:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,  # a file, whose growth the program's own limit ends
                stderr=subprocess.DEVNULL,
                env=environment("/tmp" if level == "isolated" else str(work)),  # noqa: S108
                cwd=work,
                start_new_session=True,
            )
            try:
                problem = _problem(process.wait(timeout=limits.seconds), limits, level)
            except subprocess.TimeoutExpired:
                problem = f"took longer than {limits.seconds:g} s"
            finally:
                end(process)
        with open(written, "rb") as file:
            output = file.read(MAX_OUTPUT + 1)
    if len(output) > MAX_OUTPUT:
        problem = problem or f"wrote more than {MAX_OUTPUT:,} bytes"
    return Ran(
        output[:MAX_OUTPUT].decode(errors="replace"), problem, level == "isolated" and process.returncode == NO_WALLS
    )


def _problem(status: int, limits: Limits, level: Level) -> str:
    if level == "isolated" and status == TOO_MUCH_MEMORY:
        return f"its processes together used more than {limits.memory >> 20:,} MB of memory"
    if status < 0 or status > 128:
        return f"was killed by signal {-status if status < 0 else status - 128}"
    return f"ended with exit status {status}" if status else ""
