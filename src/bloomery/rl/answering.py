"""A call to the model as an HTTP response: what was not heeded in headers, signs of life until a stream is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from fastapi import Response
from starlette.responses import StreamingResponse

from bloomery.rl.dialects import Spoken
from bloomery.rl.gateway import Gateway
from bloomery.rl.session import Session
from bloomery.rl.tables import Sent
from bloomery.serve.app import IGNORED
from bloomery.serve.errors import Refusal
from bloomery.serve.run import SILENCE
from bloomery.serve.stream import ALIVE, event

OVERRIDDEN = "x-bloomery-overridden"
"""Header that lists parameters that the run sets otherwise than was asked."""


async def answered(gateway: Gateway, session: Session, asked: Spoken, given: Mapping[str, str]) -> Response:
    """The reply to a request whose headers are `given`. Raises `Refusal`."""
    named = {IGNORED: asked.ignored, OVERRIDDEN: gateway.forced.check(asked.chat)}
    headers = {name: ", ".join(values).encode("ascii", "replace").decode() for name, values in named.items() if values}
    answering = asyncio.ensure_future(gateway.speaker.call(session, asked, given))
    if asked.streams:
        await asyncio.wait({answering}, timeout=SILENCE)
        if not answering.done():  # the answer is sent when it is journaled, and proxies are not that patient
            return StreamingResponse(_alive(answering), media_type="text/event-stream", headers=headers)
    sent = await answering
    return Response(sent.body, media_type=sent.media, headers=headers)


async def _alive(answering: asyncio.Future[Sent]) -> AsyncIterator[bytes]:
    """Signs of life until the answer is there."""
    while not answering.done():
        yield ALIVE
        await asyncio.wait({answering}, timeout=SILENCE)
    try:
        yield (await answering).body
    except Refusal as refusal:
        yield event(refusal.body())
