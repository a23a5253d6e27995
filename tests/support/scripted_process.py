"""The scripted endpoint in a process of its own, which must end by itself when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killed import begin, wait

SUPPORT = Path(__file__).resolve().parent


@contextmanager
def scripted_port(pause: float, *more: float) -> Iterator[int]:
    """The port of an endpoint that says a token every `pause` seconds; `more` as `scripted_server.py` has it."""
    server, said = begin(SUPPORT / "scripted_server.py", *map(str, (pause, *more)), within=SUPPORT)
    try:
        with said:
            yield int(said.readline())
            server.terminate()
            assert wait(server) == 0
    finally:
        server.kill()
