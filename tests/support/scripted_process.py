"""The scripted endpoint in a process of its own, which must end by itself when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent


@contextmanager
def scripted_port(pause: float, *more: float) -> Iterator[int]:
    """The port of an endpoint that says a token every `pause` seconds; `more` as `scripted_server.py` has it."""
    source = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1] / "src")])
    command = [sys.executable, str(SUPPORT / "scripted_server.py"), *map(str, (pause, *more))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": source}) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
