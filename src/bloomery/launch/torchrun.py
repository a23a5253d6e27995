"""Run a job in several processes of this machine under torchrun, by argument lists; no shell ever sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bloomery.core.errors import InputError

_GRACE_SECONDS = 30


def torchrun_argv(module: str, arguments: Sequence[str], processes: int) -> list[str]:
    """The command that runs `python -m module arguments...` in `processes` processes with a rendezvous of its own.

    `--standalone` picks a free port on loopback, so that two jobs on one machine do not meet.
    """
    if processes < 1:
        raise InputError(f"`processes: {processes}` must be at least 1")
    if not all(part.isidentifier() for part in module.split(".")):
        raise InputError(f"`{module}` is not a Python module's name")
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        "--module", module, *arguments,
    ]  # fmt: skip


def child_environment(processes: int, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment with this machine's cores divided among the processes, where nothing says otherwise.

    torchrun alone would set one thread each, which idles most of a CPU machine.
    """
    env = dict(os.environ if environ is None else environ)
    env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    return env


def run_torchrun(module: str, arguments: Sequence[str], processes: int) -> int:
    """Start the processes, pass SIGTERM and SIGINT on to them, wait, and return torchrun's exit status."""
    argv = torchrun_argv(module, arguments, processes)
    with subprocess.Popen(argv, env=child_environment(processes)) as child, _passing_signals(child):
        return _wait(child)


@contextmanager
def _passing_signals(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Until the end, SIGTERM and SIGINT go to the child as SIGTERM: every rank then writes its checkpoint."""

    def forward(number: int, frame: object) -> None:
        child.terminate()

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait()
    except BaseException:
        child.terminate()
        try:
            child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        raise
