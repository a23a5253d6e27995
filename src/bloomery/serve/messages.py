"""`/v1/messages`: the same conversation in Anthropic's dialect."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bloomery.serve.chat import Speech, ask
from bloomery.serve.desk import Desk, Model
from bloomery.serve.errors import Refusal
from bloomery.serve.speech import Said
from bloomery.serve.stream import Events, whole_of
from bloomery.serve.wire.chat import ChatRequest, ToolCall
from bloomery.serve.wire.messages import (
    CallBlock,
    MessageAnswer,
    MessageChoice,
    MessageRequest,
    MessageTurn,
    MessageUsage,
    ResultBlock,
    SaidCall,
    SaidText,
    TextBlock,
)
from bloomery.serve.wire.request import Usage

REASONS: dict[str, Any] = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal",
}  # fmt: skip
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


async def create(desk: Desk, body: MessageRequest, request: Request, headers: dict[str, str]) -> Response:
    """The route: one body, or a stream of events."""
    asked, model = await ask(desk, as_chat(body), "max_tokens"), desk.model
    if body.stream:
        return Events(asked.run, events(body, asked, model), desk.limits.stall_seconds, headers)
    return await whole_of(asked.run, request, lambda: whole(body, asked, model), headers)


def as_chat(body: MessageRequest) -> ChatRequest:
    """The same request in the dialect of chat completions."""
    messages = [{"role": "system", "content": _text(body.system)}] if body.system else []
    for turn in body.messages:
        messages += _messages(turn)
    tools = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
        }
        for tool in body.tools or []
    ]
    asked = {
        "model": body.model,
        "messages": messages,
        "max_completion_tokens": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stop": body.stop_sequences or None,
        "tools": tools or None,
        "tool_choice": _choice(body.tool_choice),
    }
    return ChatRequest.model_validate(asked)


def _choice(choice: MessageChoice | None) -> Any:
    if choice is None or choice.type != "tool":
        return choice and CHOICES[choice.type]
    if choice.name is None:
        raise Refusal(400, "`tool_choice: tool` needs a `name`", param="tool_choice", code="invalid_value")
    return {"type": "function", "function": {"name": choice.name}}


def _messages(turn: MessageTurn) -> list[dict[str, Any]]:
    """A turn as messages: results of calls stand alone, before what is said beside them."""
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    results = [
        {"role": "tool", "content": _text(block.content), "tool_call_id": block.tool_use_id}
        for block in turn.content
        if isinstance(block, ResultBlock)
    ]
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json.dumps(block.input)}}
        for block in turn.content
        if isinstance(block, CallBlock)
    ]
    text = "".join(block.text for block in turn.content if isinstance(block, TextBlock))
    said: dict[str, Any] = {"role": turn.role, "content": text} | ({"tool_calls": calls} if calls else {})
    return [*results, said] if text or calls or not results else results


def _text(content: str | list[TextBlock] | None) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content or [])


async def whole(body: MessageRequest, speech: Speech, model: Model) -> MessageAnswer:
    """The answer as one body."""
    text, calls, finish = "", list[ToolCall](), "stop"
    async for said in speech.said():
        if said is not None:
            text, calls, finish = text + said.text, calls + said.calls, said.finish or finish
    content: list[SaidText | SaidCall] = [SaidText(text=text)] if text or not calls else []
    content += [SaidCall(id=call.id, name=call.function.name, input=_input(call)) for call in calls]
    return _answer(body, content, speech.usage, REASONS[finish])


def _answer(body: MessageRequest, content: list[Any], usage: Usage, reason: Any) -> MessageAnswer:
    used = MessageUsage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
    name = f"msg_{uuid.uuid4().hex[:24]}"
    return MessageAnswer(id=name, model=body.model, content=content, stop_reason=reason, usage=used)


def _input(call: ToolCall) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call.function.arguments)
    return found


async def events(body: MessageRequest, speech: Speech, model: Model) -> AsyncIterator[bytes]:
    """The answer as a stream of events; a failure is the last of them."""
    yield _event("message_start", message=_answer(body, [], speech.usage, None).model_dump())
    blocks, finish = _Blocks(), "stop"
    try:
        async for said in speech.said():
            if said is None:
                yield _event("ping")
                continue
            finish = said.finish or finish
            for one in blocks.add(said):
                yield one
    except Refusal as refusal:
        yield _event("error", error={"type": "api_error", "message": refusal.message})
        return
    for one in blocks.close():
        yield one
    used = {"output_tokens": speech.usage.completion_tokens}
    yield _event("message_delta", delta={"stop_reason": REASONS[finish], "stop_sequence": None}, usage=used)
    yield _event("message_stop")


class _Blocks:
    """Blocks of an answer as they grow; one is open at a time."""

    def __init__(self) -> None:
        self._number, self._open = 0, False

    def add(self, said: Said) -> list[bytes]:
        """Events of what was said."""
        told = []
        if said.text:
            told += [] if self._open else self._begin(SaidText(text=""))
            told.append(self._delta({"type": "text_delta", "text": said.text}))
        for call in said.calls:
            told += self.close()
            told += self._begin(SaidCall(id=call.id, name=call.function.name, input={}))
            told.append(self._delta({"type": "input_json_delta", "partial_json": call.function.arguments}))
            told += self.close()
        return told

    def close(self) -> list[bytes]:
        """The end of the open block, if there is one."""
        if not self._open:
            return []
        self._open, number = False, self._number
        self._number += 1
        return [_event("content_block_stop", index=number)]

    def _begin(self, block: SaidText | SaidCall) -> list[bytes]:
        self._open = True
        return [_event("content_block_start", index=self._number, content_block=block.model_dump())]

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _event("content_block_delta", index=self._number, delta=delta)


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()
