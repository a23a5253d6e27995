"""`/v1/responses`: the same conversation in another dialect, with events that name each part."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bloomery.serve.chat import Speech, ask
from bloomery.serve.desk import Desk, Model
from bloomery.serve.errors import Refusal
from bloomery.serve.speech import Said, logprobs_of
from bloomery.serve.stream import ALIVE, Events, whole_of
from bloomery.serve.wire.chat import ChatRequest, ToolCall
from bloomery.serve.wire.responses import (
    Incomplete,
    InputCall,
    InputMessage,
    InputPart,
    OutputCall,
    OutputMessage,
    OutputText,
    ResponseChoice,
    ResponseError,
    ResponseObject,
    ResponseRequest,
    ResponseUsage,
)


async def create(desk: Desk, body: ResponseRequest, request: Request, headers: dict[str, str]) -> Response:
    """The route: one body, or a stream of events."""
    asked, model = await ask(desk, as_chat(body), "max_output_tokens"), desk.model
    if body.stream:
        return Events(asked.run, events(body, asked, model), desk.limits.stall_seconds, headers)
    return await whole_of(asked.run, request, lambda: whole(body, asked, model), headers)


async def whole(body: ResponseRequest, speech: Speech, model: Model) -> ResponseObject:
    """The answer as one body."""
    answer = _Answer(body, speech, model)
    await answer.read()
    return answer.response()


def events(body: ResponseRequest, speech: Speech, model: Model) -> AsyncIterator[bytes]:
    """The answer as a stream of events."""
    return _Answer(body, speech, model).events()


def as_chat(body: ResponseRequest) -> ChatRequest:
    """The same request in the dialect of chat completions."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": body.instructions}] if body.instructions else []
    items = [InputMessage(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    for item in items:
        told = _message(item)
        if isinstance(item, InputCall) and messages and messages[-1]["role"] == "assistant":
            # An answer that says something and calls functions is several items here, and one message there.
            messages[-1] |= {"tool_calls": [*messages[-1].get("tool_calls", ()), *told["tool_calls"]]}
        else:
            messages.append(told)
    choice: Any = body.tool_choice
    if isinstance(choice, ResponseChoice):
        choice = {"type": "function", "function": {"name": choice.name}}
    tools = [{"type": "function", "function": tool.model_dump(exclude={"type"})} for tool in body.tools or []]
    asked: dict[str, Any] = {
        "model": body.model,
        "messages": messages,
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "logprobs": True if body.top_logprobs else None,
        "top_logprobs": body.top_logprobs or None,
        "tools": tools or None,
        "tool_choice": choice,
        "response_format": _format(body),
    }
    return ChatRequest.model_validate(asked)


def _message(item: Any) -> dict[str, Any]:
    if isinstance(item, InputMessage):
        return {"role": item.role, "content": _text(item.content)}
    if isinstance(item, InputCall):
        called = {"name": item.name, "arguments": item.arguments}
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": item.call_id, "type": "function", "function": called}],
        }
    return {"role": "tool", "content": _text(item.output), "tool_call_id": item.call_id}


def _text(content: str | list[InputPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text or part.refusal or "" for part in content)


def _format(body: ResponseRequest) -> dict[str, Any] | None:
    asked = body.text.format if body.text else None
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": asked.name or "answer", "schema": asked.schema_}}


class _Answer:
    """One response as it grows."""

    def __init__(self, body: ResponseRequest, speech: Speech, model: Model) -> None:
        self._body, self._speech, self._model = body, speech, model
        self._id, self._created = f"resp_{uuid.uuid4().hex}", int(time.time())
        self._message: OutputMessage | None = None
        self._output: list[OutputMessage | OutputCall] = []
        self._finish: str | None = None
        self._error: ResponseError | None = None
        self._number = -1

    async def read(self) -> None:
        """Take in the whole answer."""
        async for said in self._speech.said():
            if said is not None:
                self._text(said)
                for call in said.calls:
                    self._output.append(_called(call))
                self._finish = said.finish or self._finish
        self._close_message()

    def response(self) -> ResponseObject:
        """The object as it is now."""
        body, used = self._body, self._speech.usage
        reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(self._finish or "")
        status = "failed" if self._error else "incomplete" if reason else "completed" if self._finish else "in_progress"
        usage = ResponseUsage(
            input_tokens=used.prompt_tokens,
            output_tokens=used.completion_tokens,
            total_tokens=used.total_tokens,
        )
        told: dict[str, Any] = {"text": body.text} if body.text else {}
        return ResponseObject(
            id=self._id,
            created_at=self._created,
            status=status,  # type: ignore[arg-type]
            model=body.model,
            output=self._output,
            error=self._error,
            incomplete_details=Incomplete(reason=reason) if reason else None,  # type: ignore[arg-type]
            instructions=body.instructions,
            max_output_tokens=body.max_output_tokens,
            temperature=body.temperature,
            tool_choice=body.tool_choice or "auto",
            tools=body.tools or [],
            top_p=body.top_p,
            usage=usage if status != "in_progress" else None,
            **told,
        )

    async def events(self) -> AsyncIterator[bytes]:
        """OpenAI's events, each with a number; the last one holds the whole response."""
        yield self._event("response.created", response=self._now())
        yield self._event("response.in_progress", response=self._now())
        try:
            async for said in self._speech.said():
                if said is None:
                    yield ALIVE
                    continue
                self._finish = said.finish or self._finish
                for one in self._spoken(said):
                    yield one
        except Refusal as refusal:
            self._error = ResponseError(code=refusal.code or "server_error", message=refusal.message)
            yield self._event("response.failed", response=self._now())
            return
        kind = "incomplete" if self.response().status == "incomplete" else "completed"
        yield self._event(f"response.{kind}", response=self._now())

    def _spoken(self, said: Said) -> list[bytes]:
        """Events of what was said."""
        events = []
        if said.text:
            if self._message is None:
                events += self._opened()
            piece = self._text(said)
            where = self._place(self._message)
            events.append(
                self._event("response.output_text.delta", **where, content_index=0, delta=said.text, logprobs=piece)
            )
        if (said.calls or said.finish) and self._message is not None:
            events += self._closed()
        for call in said.calls:
            events += self._called(call)
        return events

    def _text(self, said: Said) -> list[Any]:
        """Add text to the message, which begins with the first; returns the log-probabilities of the piece."""
        if self._message is None and (said.text or (not said.calls and said.finish)):
            self._message = OutputMessage(id=f"msg_{uuid.uuid4().hex}", status="in_progress", content=[])
            self._message.content.append(OutputText(text=""))
            self._output.append(self._message)
        if self._message is None:
            return []
        part = self._message.content[0]
        part.text += said.text
        told: list[Any] = []
        if self._body.top_logprobs:
            told = logprobs_of(self._model.tokenizer, said.tokens).content or []
            part.logprobs += told
        return [one.model_dump() for one in told]

    def _close_message(self) -> None:
        if self._message is not None:
            cut = self._finish in ("length", "content_filter")
            self._message.status = "incomplete" if cut else "completed"

    def _opened(self) -> list[bytes]:
        self._text(Said(0, finish="stop"))  # an empty message
        shown = {**self._plain(self._message), "content": []}
        where, part = self._place(self._message), self._plain(OutputText(text=""))
        return [
            self._event("response.output_item.added", output_index=where["output_index"], item=shown),
            self._event("response.content_part.added", **where, content_index=0, part=part),
        ]

    def _closed(self) -> list[bytes]:
        self._close_message()
        message, where = self._message, self._place(self._message)
        assert message is not None
        part = self._plain(message.content[0])
        self._message = None
        return [
            self._event(
                "response.output_text.done", **where, content_index=0, text=part["text"], logprobs=part["logprobs"]
            ),
            self._event("response.content_part.done", **where, content_index=0, part=part),
            self._event("response.output_item.done", output_index=where["output_index"], item=self._plain(message)),
        ]

    def _called(self, call: ToolCall) -> list[bytes]:
        item = _called(call)
        self._output.append(item)
        where = self._place(item)
        begun = {**self._plain(item), "arguments": "", "status": "in_progress"}
        arguments = {"delta": item.arguments}
        done = {"arguments": item.arguments, "name": item.name}
        return [
            self._event("response.output_item.added", output_index=where["output_index"], item=begun),
            self._event("response.function_call_arguments.delta", **where, **arguments),
            self._event("response.function_call_arguments.done", **where, **done),
            self._event("response.output_item.done", output_index=where["output_index"], item=self._plain(item)),
        ]

    def _place(self, item: Any) -> dict[str, Any]:
        return {"item_id": item.id, "output_index": self._output.index(item)}

    def _now(self) -> dict[str, Any]:
        return self._plain(self.response())

    def _plain(self, shape: Any) -> dict[str, Any]:
        found: dict[str, Any] = shape.model_dump(by_alias=True)
        return found

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        body = {"type": kind, "sequence_number": self._number, **fields}
        return f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def _called(call: ToolCall) -> OutputCall:
    return OutputCall(
        id=f"fc_{uuid.uuid4().hex}", call_id=call.id, name=call.function.name, arguments=call.function.arguments
    )
