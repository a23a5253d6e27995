"""Rows of each step, read ahead in a thread, so that a step does not wait for data."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bloomery.core.rows import Segment, TokenRow
from bloomery.data.blend import Blend, RowRef
from bloomery.data.rows import RowTable

PREFETCH = 2
"""Steps that wait, read, besides the one in training."""
AHEAD = PREFETCH + 1
"""After `done` steps no step from `done + AHEAD` on has been drawn: those that wait, and one that waits to wait."""

Item = tuple[int, list[TokenRow]]


def rows_of(refs: Sequence[RowRef], tables: Mapping[str, RowTable]) -> list[TokenRow]:
    """The rows that a blend drew, in order."""
    return [row for ref in refs for row in tables[ref.source].rows(ref.index, ref.epoch)]


class StepLoader:
    """Iterates (step, rows, seconds waited) from `first_step` to `last_step`, exclusive.

    The blend runs ahead by `prefetch` steps in the thread: ask the loader, not the blend, for the state
    to save.
    """

    def __init__(
        self, blend: Blend, tables: Mapping[str, RowTable], first_step: int, last_step: int, prefetch: int = PREFETCH
    ) -> None:
        """Starts reading at once; `close` it when done, or use it in a `with` block."""
        self._blend, self._tables = blend, tables
        self._first, self._last = first_step, last_step
        self._handed_out = first_step
        self._queue: queue.Queue[Item | BaseException | None] = queue.Queue(maxsize=max(1, prefetch))
        self._closed, self._guard = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._read_ahead, name="bloomery-loader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[int, list[TokenRow], float]]:
        while True:
            began = time.perf_counter()
            item = self._queue.get()
            waited = time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._handed_out = item[0] + 1
            yield *item, waited

    def state(self) -> dict[str, Any]:
        """The blend's state from which the first step not handed out yet follows."""
        with self._guard:
            return self._blend.state(self._handed_out)

    def append(self, segment: Segment) -> None:
        """Change shares from `segment.start` on; it must lie beyond the steps already read ahead (`horizon`)."""
        with self._guard:
            self._blend.append(segment)

    @property
    def horizon(self) -> int:
        """The first step whose rows are not fixed yet."""
        with self._guard:
            return self._blend.next_step

    def close(self) -> None:
        """Stop the thread; safe to call twice."""
        self._closed.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(timeout=0.05)

    def __enter__(self) -> StepLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read_ahead(self) -> None:
        try:
            for step in range(self._first, self._last):
                with self._guard:
                    refs = self._blend.step(step)
                self._put((step, rows_of(refs, self._tables)))
                if self._closed.is_set():
                    return
            self._put(None)
        except BaseException as error:  # handed to the training thread, which raises it
            self._put(error)

    def _put(self, item: Item | BaseException | None) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
