"""Weights change only while nothing is being sampled, so that every token of a turn is of one version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bloomery.serve.errors import Refusal


class Valve:
    """Open unless the weights are being changed. For one event loop.

    `version` is that of the weights that answer now; a call that comes meanwhile waits so many seconds.
    """

    def __init__(self, patience: float = 30.0, version: int = 0) -> None:
        self.version, self._patience = version, patience
        self._inside = 0
        self._open, self._idle = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._idle.set()

    @asynccontextmanager
    async def through(self) -> AsyncIterator[int]:
        """Sample inside this block, with the version it gives. Raises `Refusal` 503 where the weights stay away."""
        try:
            async with asyncio.timeout(self._patience):
                while not self._open.is_set():
                    await self._open.wait()
        except TimeoutError:
            message = "the weights are being updated; try again"
            raise Refusal(503, message, code="updating", headers={"retry-after": "5"}) from None
        self._inside += 1
        self._idle.clear()
        try:
            yield self.version
        finally:
            self._inside -= 1
            if not self._inside:
                self._idle.set()

    async def hold(self) -> None:
        """Let nobody in, and return when those inside have their answers."""
        self._open.clear()
        await self._idle.wait()

    def release(self, version: int) -> None:
        """Go on, with these weights."""
        self.version = version
        self._open.set()
