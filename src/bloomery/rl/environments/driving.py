"""The process of an environment that drives its rollouts itself, through the gateway; a new one where it dies."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from bloomery.core.errors import InputError, Where
from bloomery.core.sandbox import end
from bloomery.rl.environments.apart import Program
from bloomery.rl.journal import Journal

SCRIPT = Path(__file__).with_name("run_worker.py")
DEATHS, CALM = 5, 30.0
"""So many deaths, each within so many seconds of its start, end the run."""
GRACE = 5.0
"""Seconds in which a process may end what it started in sessions of their own, such as tool servers."""


class Driving:
    """Keeps a process at work; `error` says why no more is started."""

    def __init__(self, program: Program, job: Mapping[str, object], journal: Journal) -> None:
        """`job` is what `run_worker.py` is told beside the program."""
        self._program, self._job, self._journal = program, job, journal
        self._folder = TemporaryDirectory(prefix="bloomery-")
        self._stop = threading.Event()
        self.error: BaseException | None = None
        self._process = self._started(0)
        self._thread = threading.Thread(target=self._watch, name="bloomery-environment", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        self._stop.set()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.stdin.close()
            self._process.wait(GRACE)
        end(self._process)
        self._thread.join(30)
        end(self._process)  # another one, where it was being started meanwhile

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        told = {**self._job, "worker": f"environment-{number}"}
        return self._program.started(SCRIPT, self._folder.name, told)

    def _watch(self) -> None:
        """Keep a process at work until it is closed; where that does not go on, nobody waits for it."""
        try:
            self._restart()
        except BaseException as error:  # the thread that waits for rollouts raises it
            self.error = error

    def _restart(self) -> None:
        """Start another process where one dies; what it was at work on begins once more, as a fresh attempt."""
        number, quick = 0, 0
        while not self._stop.is_set():
            began = time.monotonic()
            status = self._process.wait()
            if self._stop.is_set():
                return
            for attempt in self._journal.under_way(f"environment-{number}").result():
                self._journal.lost(attempt.id, heard=True).result()
            quick = quick + 1 if time.monotonic() - began < CALM else 0
            if quick == DEATHS:
                message = f"the environment `{self._program.name}` ended {DEATHS} times (exit status {status})"
                self.error = InputError(message, where=Where(self._program.file), fix="see what it printed")
                return
            number += 1
            self._process = self._started(number)
