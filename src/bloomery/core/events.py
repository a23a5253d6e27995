"""The event log: one JSON object a line, appended; whatever a run did can be read back from it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bloomery.core.secret import scrub


class EventLog:
    """Append-only log of a run, `events.jsonl`.

    Every event has `time` (seconds since the epoch) and `event` (its name). A line half written by a
    killed process is dropped when the log is opened again. Any thread may write: lines stay whole, and in the order of
    their times.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        opener = lambda name, flags: os.open(name, flags, mode)  # noqa: E731
        self._file = open(path, "a", encoding="utf-8", opener=opener)  # noqa: SIM115 - lives as long as the log
        self._one = threading.RLock()  # a signal may come while its own thread writes

    def write(self, event: str, /, **fields: Any) -> None:
        """Append one event. Non-finite numbers become strings, so that the file stays valid JSON; secrets are hidden
        in text, which may be a library's error. In nested fields they are not: those are facts of our own, paths too.
        """
        told = {key: _plain(value) for key, value in fields.items()}
        with self._one:
            record = {"time": round(time.time(), 3), "event": event} | told
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Make everything written so far durable."""
        with self._one:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; writing afterwards is an error."""
        with self._one:
            self._file.close()


def read_events(path: Path, event: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the events of a log in order, only those named `event` if given; a torn last line is skipped."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            record = json.loads(line)
            if event is None or record["event"] == event:
                yield record


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    return str(value) if isinstance(value, float) and value - value != 0 else value


def _drop_torn_line(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
