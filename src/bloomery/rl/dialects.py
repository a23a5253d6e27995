"""The dialects in which an orchestrator may talk, over the same session: each is read as a chat request and written
down again in its own words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from bloomery.serve import chat, messages, responses
from bloomery.serve.desk import Model
from bloomery.serve.errors import Refusal, unfit
from bloomery.serve.wire.chat import ChatRequest
from bloomery.serve.wire.messages import MessageRequest
from bloomery.serve.wire.request import Wire
from bloomery.serve.wire.responses import ResponseRequest


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one dialect is read and written."""

    shape: type[Wire]
    as_chat: Callable[[Any], ChatRequest]
    whole: Callable[..., Any]
    events: Callable[..., AsyncIterator[bytes]]


CHAT = "/v1/chat/completions"
DIALECTS = {
    CHAT: Dialect(ChatRequest, lambda body: body, chat.whole, chat.events),
    "/v1/responses": Dialect(ResponseRequest, responses.as_chat, responses.whole, responses.events),
    "/v1/messages": Dialect(MessageRequest, messages.as_chat, messages.whole, messages.events),
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A request that was read. `ignored` are parameters that change nothing, unknown ones among them; `digest` is of
    all that was sent."""

    dialect: Dialect
    body: Any
    chat: ChatRequest
    ignored: list[str]
    digest: str

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted as events."""
        return bool(self.body.stream)


def read(path: str, raw: bytes, streams: bool | None = None) -> Spoken:
    """A request by its route; `streams` where that says it in the body's place.

    Raises `Refusal` 400 for a body that does not fit; what it does not know it ignores.
    """
    dialect = DIALECTS[path]
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Refusal(400, "the body is no JSON object", code="invalid_json")
    told |= {} if streams is None else {"stream": streams}
    unknown = sorted(name for name in told if name not in dialect.shape.model_fields)
    try:
        body = dialect.shape.model_validate({name: told[name] for name in told if name not in unknown})
        digest = hashlib.sha256(f"{path} {streams}\n".encode() + raw).hexdigest()
        ignored = [*body.ignored(), *(name[:64] for name in unknown)]
        return Spoken(dialect, body, dialect.as_chat(body), ignored, digest)
    except ValidationError as error:
        raise unfit(error.errors(), dialect.shape.model_fields) from None


async def written(spoken: Spoken, speech: chat.Speech, model: Model) -> tuple[bytes, str, str]:
    """(body, media type, id) of an answer."""
    if spoken.streams:
        pieces = [piece async for piece in spoken.dialect.events(spoken.body, speech, model)]
        return b"".join(pieces), "text/event-stream", _id_in(pieces[0])
    found: BaseModel = await spoken.dialect.whole(spoken.body, speech, model)
    return found.model_dump_json(by_alias=True).encode(), "application/json", str(getattr(found, "id", ""))


def _id_in(event: bytes) -> str:
    """The id of an answer, from the first of its events."""
    told = json.loads(event.partition(b"data: ")[2])
    inner = told.get("response") or told.get("message") or told
    return str(inner["id"])
