"""How answers travel: events as they come, or one body; either way what a client no longer waits for is freed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bloomery.serve.errors import Refusal
from bloomery.serve.run import Blocked, Run

ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
Result = TypeVar("Result")


class Gone(Exception):
    """The client has hung up."""


def event(shape: BaseModel, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {shape.model_dump_json(by_alias=True)}\n\n".encode()


class Events(StreamingResponse):
    """A stream over `run`, which is closed however the stream ends: finished, failed, or never read."""

    def __init__(self, run: Run | Blocked, events: AsyncIterator[bytes], stall: float, headers: dict[str, str]) -> None:
        super().__init__(_told(events), media_type="text/event-stream", headers=headers)
        self._run, self._stall = run, stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client that does not read is cut off."""

        async def in_time(message: Any) -> None:
            async with asyncio.timeout(self._stall):
                await send(message)

        try:
            with contextlib.suppress(TimeoutError):
                await super().__call__(scope, receive, in_time)
        finally:
            self._run.close()


async def _told(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events; a failure on the way is the last of them, since the status has been sent."""
    try:
        async for one in events:
            yield one
    except Refusal as refusal:
        yield event(refusal.body())


async def unless_gone(request: Request, work: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `work`, which is cancelled when the client hangs up: `Gone`."""
    doing = asyncio.ensure_future(work())
    leaving = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Gone
        return await doing
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def whole_of(
    run: Run | Blocked, request: Request, answer: Callable[[], Awaitable[BaseModel]], headers: dict[str, str]
) -> Response:
    """The answer of a `run` as one body; the run is closed however that ends."""
    try:
        found = await unless_gone(request, answer)
    finally:
        run.close()
    return reply(found, headers)


def reply(shape: BaseModel, headers: dict[str, str]) -> Response:
    """A whole body."""
    return Response(shape.model_dump_json(by_alias=True), media_type="application/json", headers=headers)
