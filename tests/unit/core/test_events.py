"""The event log under many threads: a policy's decisions come from as many as there are answers."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from bloomery.core.events import EventLog, read_events


def at_once(log: EventLog, threads: int, events: int) -> None:
    start = threading.Barrier(threads)

    def write(number: int) -> None:
        start.wait()
        for at in range(events):
            log.write("policy", thread=number, at=at, reason="x" * (1 + 997 * (at % 3)))

    running = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()


def test_lines_of_many_threads_stay_whole_and_none_is_lost(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "policy.jsonl")
    at_once(log, threads=8, events=200)
    found = list(read_events(log.path, "policy"))
    assert len(found) == 8 * 200
    for number in range(8):
        assert [one["at"] for one in found if one["thread"] == number] == list(range(200))
    times = [one["time"] for one in found]
    assert times == sorted(times)


class Slow:
    """A file that lets other threads in between any two characters' worth of a line."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, text: str) -> None:
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
            self.file.write(piece)
            time.sleep(0.0005)

    def flush(self) -> None:
        self.file.flush()


def test_a_line_is_written_before_the_next_one_begins_however_slow_the_file_is(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "policy.jsonl")
    log._file = Slow(log._file)  # type: ignore[assignment]
    at_once(log, threads=4, events=10)
    assert len(list(read_events(log.path))) == 40
