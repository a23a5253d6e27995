"""`/v1/chat/completions`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from bloomery.engine.protocol import Grammar, Token
from bloomery.serve import tools as calls
from bloomery.serve.desk import Desk, Model, stops_of
from bloomery.serve.errors import Refusal
from bloomery.serve.forms import KEY, schema_grammar, structured
from bloomery.serve.run import Blocked, Run, Work
from bloomery.serve.speech import Said, logprobs_of, spoken
from bloomery.serve.stream import ALIVE, DONE, Events, event, whole_of
from bloomery.serve.wire.chat import (
    AnswerMessage,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChunkChoice,
    DeltaMessage,
    Finish,
    Logprobs,
    NamedTool,
    SchemaFormat,
    Tool,
    ToolCall,
)
from bloomery.serve.wire.request import Usage


class Speech(Protocol):
    """What a dialect writes down: what was said so far, and the tokens it took."""

    def said(self) -> AsyncIterator[Said | None]:
        """What the model says, as it comes; None after a silence."""
        ...

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation as it goes to the engine, and what is listened for in the answer."""

    run: Run | Blocked
    tools: Sequence[Tool]
    must_call: bool

    def said(self) -> AsyncIterator[Said | None]:
        """What the model says."""
        return spoken(self.run, self.tools, self.must_call)

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return Usage.of(self.run.prompt_tokens, self.run.completion_tokens)


async def ask(desk: Desk, body: ChatRequest, limit: str = "") -> Asked:
    """Render, check and submit a conversation; `run.close` must follow. Raises `Refusal`.

    `limit` names the parameter of the most tokens in another dialect.
    """
    adapter = desk.adapter(body.model)
    offered = body.tools or []
    used = [] if body.tool_choice == "none" else offered
    grammar, form = _grammar(body, used)
    must_call = isinstance(body.tool_choice, NamedTool) or body.tool_choice == "required"
    top = (body.top_logprobs or 0) if body.logprobs else 0
    if body.top_logprobs and not body.logprobs:
        raise Refusal(400, "`top_logprobs` needs `logprobs: true`", param="top_logprobs", code="invalid_value")
    if body.logprobs and not desk.exact:
        raise Refusal(400, "`logprobs` would show what the policy masks", param="logprobs", code="invalid_value")
    async with desk.place(body.n or 1) as place:
        given, told = [calls.plain(message) for message in body.messages], [_told(tool) for tool in used]
        prompt = await desk.prompt(given, told)  # what is too long is refused before anything reads it closely
        messages, verdict = await desk.checked(given)
        prompt = prompt if messages is given else await desk.prompt(messages, told)
        most = body.max_completion_tokens or body.max_tokens
        sampling = desk.sampling(body, most, len(prompt), grammar=grammar, top_logprobs=top)
        more: dict[str, Any] = {"tells": bool(body.logprobs), "form": form, **desk.guarded(messages)}
        more["limit"] = limit or ("max_completion_tokens" if body.max_completion_tokens else "max_tokens")
        work = Work([prompt], sampling, body.n or 1, stops_of(body), adapter, **more)
        run = await desk.begin(work, verdict, place)
    return Asked(run, used, must_call)


def _told(tool: Tool) -> dict[str, Any]:
    return tool.model_dump(exclude_none=True)


def _grammar(body: ChatRequest, used: Sequence[Tool]) -> tuple[Grammar | None, str]:
    """What the answer must be, and the parameter that says so: a call, JSON, or what `structured_outputs` asks for."""
    if isinstance(body.tool_choice, NamedTool):
        names = [tool.function.name for tool in used]
        if body.tool_choice.function.name not in names:
            raise Refusal(400, "`tool_choice` names a function that `tools` lacks", param="tool_choice")
    elif body.tool_choice == "required" and not used:
        raise Refusal(400, "`tool_choice: required` needs `tools`", param="tool_choice", code="invalid_value")
    for number, tool in enumerate(used):
        schema_grammar(tool.function.parameters or {}, f"tools.{number}.function.parameters")
    forced, asked = calls.forced(used, body.tool_choice), body.response_format
    shaped = asked is not None and asked.type != "text"
    if body.structured_outputs is not None:
        if forced is not None or shaped:
            other = "tool_choice" if forced is not None else "response_format"
            raise Refusal(400, f"`{KEY}` and `{other}` both say what the answer must be: give one", param=KEY)
        return structured(body.structured_outputs)
    if forced is not None or not shaped:
        return forced, "tools"
    if isinstance(asked, SchemaFormat):
        schema, key = asked.json_schema.schema_ or {"type": "object"}, "response_format"
        return schema_grammar(schema, f"{key}.json_schema.schema"), key
    return Grammar("json_schema", json.dumps({"type": "object"})), "response_format"


async def complete(desk: Desk, body: ChatRequest, request: Request, headers: dict[str, str]) -> Response:
    """The route: one body, or a stream of chunks."""
    asked = await ask(desk, body)
    model = desk.model
    if body.stream:
        return Events(asked.run, events(body, asked, model), desk.limits.stall_seconds, headers)
    return await whole_of(asked.run, request, lambda: whole(body, asked, model), headers)


async def whole(body: ChatRequest, speech: Speech, model: Model) -> ChatCompletion:
    """The answer as one body."""
    answers = [_Answer() for _ in range(body.n or 1)]
    async for said in speech.said():
        if said is not None:
            answers[said.index].add(said)
    choices = [answer.choice(index, body.logprobs, model) for index, answer in enumerate(answers)]
    return ChatCompletion(choices=choices, usage=speech.usage, **_head(body, model))


class _Answer:
    """One answer, put together."""

    def __init__(self) -> None:
        self.text, self.calls, self.tokens = "", list[ToolCall](), list[Token]()
        self.finish: Finish | None = None

    def add(self, said: Said) -> None:
        self.text += said.text
        self.calls += said.calls
        self.tokens += said.tokens
        self.finish = said.finish or self.finish

    def choice(self, index: int, logprobs: bool | None, model: Model) -> Choice:
        content = None if self.calls and not self.text else self.text
        message = AnswerMessage(content=content, tool_calls=self.calls or None)
        told = logprobs_of(model.tokenizer, self.tokens) if logprobs else None
        assert self.finish is not None
        return Choice(index=index, message=message, logprobs=told, finish_reason=self.finish)


async def events(body: ChatRequest, speech: Speech, model: Model) -> AsyncIterator[bytes]:
    """The answer as a stream of chunks."""
    head = _head(body, model)
    for index in range(body.n or 1):
        begin = DeltaMessage(role="assistant", content="")
        yield event(ChatChunk(choices=[ChunkChoice(index=index, delta=begin)], **head))
    counts = [0] * (body.n or 1)  # calls told
    async for said in speech.said():
        if said is None:
            yield ALIVE
            continue
        told = [call.model_copy(update={"index": counts[said.index] + i}) for i, call in enumerate(said.calls)]
        counts[said.index] += len(told)
        logprobs: Logprobs | None = None
        if body.logprobs and said.tokens:
            logprobs = logprobs_of(model.tokenizer, said.tokens)
        if said.text or told or logprobs:
            delta = DeltaMessage(content=said.text or None, tool_calls=told or None)
            yield event(ChatChunk(choices=[ChunkChoice(index=said.index, delta=delta, logprobs=logprobs)], **head))
        if said.finish:
            last = ChunkChoice(index=said.index, delta=DeltaMessage(), finish_reason=said.finish)
            yield event(ChatChunk(choices=[last], **head))
    if body.stream_options and body.stream_options.include_usage:
        yield event(ChatChunk(choices=[], usage=speech.usage, **head))
    yield DONE


def _head(body: ChatRequest, model: Model) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:24]}",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": model.fingerprint,
    }
