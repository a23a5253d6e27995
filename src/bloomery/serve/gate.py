"""The queue in front of the engine: so many answers at once, so many waiting, and none of them for longer than told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from bloomery.serve.errors import busy
from bloomery.serve.limits import Limits
from bloomery.serve.metrics import Metrics


class Place:
    """Room for the answers of one request; who sets `kept` must `free` it."""

    def __init__(self, gate: Gate, count: int) -> None:
        self._gate, self._count, self.kept = gate, count, False

    def free(self) -> None:
        """Give it back. Harmless when repeated."""
        count, self._count = self._count, 0
        if count:
            self._gate.leave(count)


class Lobby(Protocol):
    """What stands before an app: the queue, its limits, what is counted, and whether the server is about to stop."""

    gate: Gate
    limits: Limits
    metrics: Metrics
    draining: bool
    hurried: bool


class Gate:
    """First come, first served. A request takes as many places as it wants answers, all at once.

    A request that finds the queue full is refused at once, one that does not get its places in time after that:
    every client hears within `patience` whether it will be answered. Most hear it at once, since the queue becomes no
    longer than what comes out of it within `patience`: to refuse a request unread takes 10 us, and 180 once it was
    read, beside what the queue itself costs; under load that time is taken from the answers.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._came: deque[float] = deque()
        """When requests were let in from the queue, within `patience`."""
        self._since = 0.0
        """Since when there is a queue."""

    @property
    def waiting(self) -> int:
        """Requests that have no place yet."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next request would be refused unread: there is no room, or its turn would not come in time."""
        return len(self._waiting) >= self.limits.queue or (bool(self._waiting) and self._slow())

    def _slow(self) -> bool:
        """Whether there is a queue for longer than `patience`, and no more came out in that time than wait now."""
        start = time.monotonic() - self.limits.patience
        while self._came and self._came[0] < start:
            self._came.popleft()
        return self._since < start and len(self._waiting) >= max(1, len(self._came))

    @asynccontextmanager
    async def place(self, count: int) -> AsyncIterator[Place]:
        """Room for `count` answers, given back at the end of the block unless it was kept.

        Raises `Refusal` 429 where there is none in time.
        """
        place = Place(self, await self.enter(count))
        try:
            yield place
        finally:
            if not place.kept:
                place.free()

    async def enter(self, count: int) -> int:
        """Wait for `count` places, give them back with `leave`; raises `Refusal` 429 where there are none in time.

        Returns the places taken: no more than there are, since a request for more answers would wait for ever.
        """
        count = min(count, self.limits.running)
        if not self._waiting and self.taken + count <= self.limits.running:
            self.taken += count
            return count
        if self.full:
            raise busy("the queue is full")
        if not self._waiting:
            self._since = time.monotonic()
            self._came.clear()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            async with asyncio.timeout(self.limits.patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # let in at the very moment it gave up
                self.taken -= count
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove((count, turn))
            self._let_in()
            if isinstance(error, TimeoutError):
                raise busy("no place became free in time") from None
            raise
        return count

    def leave(self, count: int) -> None:
        """Give back `count` places."""
        self.taken -= count
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.taken + self._waiting[0][0] <= self.limits.running:
            count, turn = self._waiting.popleft()
            if not turn.done():
                self.taken += count
                self._came.append(time.monotonic())
                turn.set_result(None)
