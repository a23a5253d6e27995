"""What every test stands on: no network, one thread, a quiet environment and its own home for caches."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before anything imports torch or a library that reads these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["NO_COLOR"] = "1"

# Files of this process are handed to the system and not awaited on the disk, a hundred times a run: no test cuts the
# power, and a kill loses nothing that the system has. Processes that a test starts, and kills, do sync.
os.fsync = lambda handle: None

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")
_MANY = 100
"""Modules that are worth a look through everything."""
_seen = 0


def pytest_runtest_logstart() -> None:
    """What was imported stays, 400,000 objects: the collector leaves them out, which were a third of a short run."""
    global _seen
    if len(sys.modules) > _seen + _MANY:
        _seen = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine is a failure: Bloomery is offline unless a recipe says otherwise."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOCAL):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Token stores and other caches of a test run never land in the user's home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]
