"""The levels at which code that others wrote may run, by name. One that cannot be had is refused, never lowered.

- `trusted`: inside this process, with all it can see and do. No limit at all.
- `process`: a process of its own with limits of time and memory for each and an environment without secrets. It guards
  against faults, not against intent: files and network are the caller's.
- `isolated`: a process that sees the system's libraries and Python, read-only, and a small /tmp; no network, no other
  process, no file of the user, no secret; limited in time, in the memory and number of all its processes, and in what
  it may ask of the kernel. Linux, where users may make namespaces.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bloomery.core import sandbox_calls, sandbox_jail
from bloomery.core.errors import InputError, nearest

Level = Literal["trusted", "process", "isolated"]
LEVELS: tuple[str, ...] = get_args(Level)

PASSED_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")
BOX = "/box"
"""Where an isolated program finds the files that it was given."""
PROBE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call or program may use."""

    seconds: float = 10.0
    memory: int = 2 << 30
    """Bytes of address space of each process, libraries' included; `isolated`: also of memory of all together."""
    processes: int = 64
    """Processes and threads at a time; counted at `isolated` only."""
    disk: int = 64 << 20
    """Bytes of /tmp at `isolated`."""


def check_level(level: str, trusted: bool, what: str) -> None:
    """Refuse an unknown level, and without `trusted: true` those at which `what` runs with the user's rights."""
    if level not in LEVELS:
        raise InputError(f"`level: {level}` is no sandbox level{nearest(str(level), LEVELS)}", fix="change `level`")
    if level != "isolated" and trusted is not True:
        raise InputError(
            f"{what}, with your rights",
            fix="read it, then set `trusted: true`, or run it without your rights: `level: isolated`",
        )


def require(level: str) -> None:
    """Raise `InputError` with the reason and the fix where this machine does not offer `level`."""
    if level == "isolated" and (problem := _no_walls()):
        raise InputError(
            f"`level: isolated` cannot be had on this machine: {problem}",
            fix="allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns; "
            "in a container: --security-opt seccomp=unconfined --security-opt systempaths=unconfined), or, for code"
            " you have read, set `level: process` and `trusted: true`",
        )


@functools.cache
def _no_walls() -> str:
    """Why no wall can be raised here; "" where they can: found by raising them once."""
    if sys.platform != "linux":
        return "it needs Linux"
    if platform.machine() not in sandbox_calls.MACHINES:
        return f"it knows no system calls of {platform.machine()}"
    if _holds_home():
        return f"Python's own folder {_holds_home()} holds your files too"
    with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
        argv = command("isolated", Path(folder), ["-S", "-c", "pass"], {}, Limits(), int(PROBE_SECONDS))
        try:
            done = subprocess.run(
                argv, env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
            )
        except subprocess.TimeoutExpired:
            return "its first process did not end"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1][:200] if said else f"its first process ended with {done.returncode}"


def _holds_home() -> str:
    """A folder that the program would see although the user's home lies in it."""
    home = Path.home().resolve()
    return next((view for view in _views() if home.is_relative_to(Path(view).resolve())), "")


def _views() -> list[str]:
    """Python's own folders, outer ones first."""
    return sorted({sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}, key=len)


def command(
    level: str, folder: Path, python: Sequence[str], files: Mapping[str, str], limits: Limits, cpu_seconds: int
) -> list[str]:
    """The command line that runs `python -I <python...>` at a level other than `trusted`, with `files` in place.

    `files` are name -> text; they lie in `BOX` when isolated, else in `folder`, an empty folder of the caller's that
    stays until the program has ended. An argument that is a name of `files` becomes its path.
    """
    isolated = level == "isolated"
    place = BOX if isolated else str(folder)
    arguments = [f"{place}/{argument}" if argument in files else argument for argument in python]
    root = folder / "root"
    root.mkdir()
    if not isolated:
        for name, text in files.items():
            _write(folder / name, text)
    job = {
        "walls": isolated,
        "argv": [sys.executable, "-I", *arguments],
        "root": str(root),
        "views": _views(),
        "files": dict(files),
        "memory": limits.memory,
        "processes": limits.processes,
        "disk": limits.disk,
        "cpu_seconds": cpu_seconds,
    }
    if isolated:
        machine = platform.machine()
        job |= {"filter": sandbox_calls.program(machine).hex(), "calls": sandbox_calls.needed(machine)}
    _write(folder / "jail.json", json.dumps(job))
    return [sys.executable, "-I", "-S", sandbox_jail.__file__, str(folder / "jail.json")]


def environment(home: str) -> dict[str, str]:
    """What a program is told of the caller's environment: how to read text and time, no secret."""
    passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    return passed | {"HOME": home, "TMPDIR": home, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
