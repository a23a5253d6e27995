"""SIGTERM and SIGINT as a request: finish the step, write a checkpoint, stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Stop:
    """The first signal that asked the run to stop, by number; None while none has."""

    number: int | None = None

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self.number is not None


@contextmanager
def stop_requests(told: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Turn the first SIGTERM or SIGINT into a checkpoint at the end of the step; a second SIGINT interrupts at once.

    `told` is called at the first one, and must only leave a note.
    """
    stop = Stop()

    def ask(number: int, frame: object) -> None:
        if stop.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.number = stop.number or number
        told()

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: signals stay with whoever owns it
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
