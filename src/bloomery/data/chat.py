"""Chat templates: renders a conversation and finds which characters the assistant wrote.

A template that marks them with `{% generation %}` is believed. Any other template is rendered up to
each assistant turn, and what follows up to its end of turn is the assistant's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bloomery.core.errors import InputError, Where

Span = tuple[int, int]
START, END = "\ufdd0", "\ufdd1"
"""Unicode noncharacters, never part of real text: they stand around what a `generation` block renders."""


class RenderChat(Protocol):
    """Renders messages (content as string) to the text a model sees."""

    def __call__(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = (), add_generation_prompt: bool = False
    ) -> str: ...


class ChatTemplate:
    """A Jinja chat template in a sandbox, with the names that Hugging Face templates expect."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """`special` holds `bos_token`, `eos_token` ... Raises `InputError` for a template that does not parse."""
        self.source, self._special = source, dict(special)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise InputError(f"the chat template does not parse: {error}", fix="correct chat_template.jinja") from None

    def __call__(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = (), add_generation_prompt: bool = False
    ) -> str:
        """The rendered text, with `START` and `END` around generation blocks. Raises `InputError` if it fails."""
        try:
            return self._template.render(
                messages=list(messages),
                tools=list(tools) or None,
                add_generation_prompt=add_generation_prompt,
                **self._special,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"the chat template refuses this conversation: {error}") from None


def assistant_spans(
    render: RenderChat, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], ends: Sequence[str], where: Where
) -> tuple[str, list[Span]]:
    """Rendered text and the character spans [start, end) of the assistant's turns, each with its end-of-turn token.

    `ends` are the special tokens that may end a turn. Raises `InputError` when the spans cannot be found:
    training on the wrong ones would teach the model to speak for the user.
    """
    if any(mark in str(message["content"]) for message in messages for mark in (START, END)):
        raise InputError("holds the noncharacter U+FDD0 or U+FDD1, which no text should", where=where)
    marked = render(messages, tools)
    if START in marked:
        return _unmark(marked)
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            prefix = render(messages[:number], tools, add_generation_prompt=True)
            spans.append(_turn_span(marked, prefix, message, ends, where))
    return marked, spans


def _turn_span(text: str, prefix: str, message: Mapping[str, Any], ends: Sequence[str], where: Where) -> Span:
    content = str(message["content"]).strip()
    first = text.find(content, len(prefix)) if text.startswith(prefix) else -1
    if first < 0:
        raise InputError(
            f"cannot tell which part of the rendered conversation the assistant wrote: {content[:40]!r}",
            where=where,
            fix="mark it in the chat template with {% generation %} ... {% endgeneration %}",
        )
    between = r".*?" if message.get("tool_calls") else r"\s*"
    closing = re.compile(f"{between}(?:{'|'.join(map(re.escape, ends))})", re.DOTALL)
    at = first
    while at >= 0:
        # What the template puts before an answer may hold the same characters: the answer is what the turn ends after.
        if ends and (found := closing.match(text, at + len(content))):
            return len(prefix), found.end()
        at = text.find(content, at + 1)
    return len(prefix), first + len(content)


def _unmark(marked: str) -> tuple[str, list[Span]]:
    pieces, spans, length = [], [], 0
    for index, block in enumerate(marked.split(START)):
        inside, _, outside = block.partition(END) if index else ("", "", block)
        if inside:
            spans.append((length, length + len(inside)))
        pieces += [inside, outside]
        length += len(inside) + len(outside)
    return "".join(pieces), spans


class _Generation(Extension):
    """`{% generation %}`: puts the marks around what the block renders."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{START}{caller()}{END}"


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
