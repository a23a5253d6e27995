"""Conversations as text: which characters of it the assistant wrote.

A template that marks the assistant's turns with `{% generation %}` is believed. Any other template is rendered up to
each of them, and what follows up to its end of turn is the assistant's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.template import END, START, Conversation, Rendering

Span = tuple[int, int]


def conversation(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> Conversation:
    """What is to be rendered of messages whose content is a string."""
    spoken = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    return Conversation(messages, tools, before=spoken)


def assistant_spans(
    told: Conversation, rendered: Rendering, ends: Sequence[str], where: Where
) -> tuple[str, list[Span]]:
    """Rendered text and the character spans [start, end) of the assistant's turns, each with its end-of-turn token.

    `ends` are the special tokens that may end a turn. Raises `InputError` when the template refused the conversation
    or the spans cannot be found: training on the wrong ones would teach the model to speak for the user.
    """
    if rendered.error is not None:
        raise InputError(f"the chat template refuses this conversation: {rendered.error}", where=where)
    if START in rendered.text:
        return _unmark(rendered.text)
    spans = [
        _turn_span(rendered.text, start, told.messages[number], ends, where)
        for number, start in zip(told.before, rendered.starts, strict=True)
    ]
    return rendered.text, spans


def learned(told: Conversation, spans: list[Span], prompt: int, where: Where) -> list[Span]:
    """The spans of the turns that are trained: those after the first `prompt` messages, without those of `weight: 0`.

    Raises `InputError` where a template marks other stretches than one for each turn of the assistant's.
    """
    kept = [number >= prompt and told.messages[number].get("weight", 1) != 0 for number in told.before]
    if all(kept):
        return spans
    if len(spans) != len(kept):
        raise InputError(
            f"cannot tell which turns are to be trained: the chat template marks {len(spans)} stretches in "
            f"{len(kept)} turns of the assistant's",
            where=where,
        )
    return [span for span, keep in zip(spans, kept, strict=True) if keep]


def _turn_span(text: str, start: int, message: Mapping[str, Any], ends: Sequence[str], where: Where) -> Span:
    content = str(message["content"]).strip()
    first = text.find(content, start) if start >= 0 else -1
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
            return start, found.end()
        at = text.find(content, at + 1)
    return start, first + len(content)


def _unmark(marked: str) -> tuple[str, list[Span]]:
    pieces, spans, length = [], [], 0
    for index, block in enumerate(marked.split(START)):
        inside, _, outside = block.partition(END) if index else ("", "", block)
        if inside:
            spans.append((length, length + len(inside)))
        pieces += [inside, outside]
        length += len(inside) + len(outside)
    return "".join(pieces), spans
