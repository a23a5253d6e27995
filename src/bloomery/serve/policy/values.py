"""JSON as what it says: the texts in it, however they are escaped, for arguments and results of tool calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def parsed(given: Any) -> Any:
    """JSON in a text as a value; what is none as it is."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def with_arguments(call: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """A tool call with other arguments, in the form that it had: a value, or JSON in a text."""
    told = call["function"].get("arguments")
    if parsed(told) != value:
        told = json.dumps(value, ensure_ascii=False) if isinstance(told, str) and not isinstance(value, str) else value
    return {**call, "function": {**call["function"], "arguments": told}}


def texts_in(value: Any) -> Iterator[str]:
    """Every text, key and number of a JSON value, in order."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def with_texts(value: Any, texts: Iterator[str]) -> Any:
    """The value with other texts in place of those that `texts_in` gives; a number stays one where its text does."""
    if isinstance(value, Mapping):
        return {next(texts): with_texts(inner, texts) for inner in value.values()}
    if isinstance(value, list | tuple):
        return [with_texts(inner, texts) for inner in value]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text = next(texts)
        return value if text == str(value) else text
    return value


def cut_out(texts: Sequence[str], hidden: Sequence[tuple[int, int]], mask: str) -> list[str]:
    """Texts, joined by line ends, with `mask` for what lies in the spans `hidden` of the whole."""
    found, begin = [], 0
    for text in texts:
        end, kept, at = begin + len(text), "", begin
        for start, stop in hidden:
            if start < end and stop > begin:
                kept += text[at - begin : max(start, at) - begin] + mask
                at = min(stop, end)
        found.append(kept + text[at - begin :])
        begin = end + 1
    return found
