"""OpenAI's grader templates: `{{ item.<key> }}` is the row's, `{{ sample.output_text }}` the answer's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bloomery.graders.payload import Sample

_PLACE = re.compile(r"\{\{\s*([\w.\-]+|(?:item|sample)\b[^{}]*?)\s*\}\}")


def _as_it_is(text: str) -> str:
    return text


def fill(template: str, sample: Sample, wrap: Callable[[str], str] = _as_it_is) -> str:
    """Fill the places of a template, once: what fills them is never read as a template.

    Known are `item.<key>` and deeper (`item.a.b`, `item.list.0`) of the row's metadata, its `id` and
    `reference_answer`, and `sample.output_text`, `sample.output_json.<key>` and `sample.output_tools`. `wrap` is
    applied to what the model wrote. Raises KeyError for a key not there, ValueError for an answer that is not JSON.
    """

    def value(match: re.Match[str]) -> str:
        name, *path = match.group(1).split(".")
        if name == "item":
            return _text(_inside(item(sample), path, match.group(1)))
        if name == "sample" and path:
            return wrap(_text(_output(sample, path, match.group(1))))
        raise KeyError(match.group(1))

    return _PLACE.sub(value, template)


def item(sample: Sample) -> dict[str, Any]:
    """The row as templates and OpenAI's Python graders see it."""
    return {**sample.metadata, "reference_answer": sample.reference_answer, "id": sample.id}


def output(sample: Sample) -> dict[str, Any]:
    """The answer as OpenAI's Python graders see it: text, tool calls, and the JSON that it is, where it is."""
    last = sample.messages[-1] if sample.messages else {}
    return {"output_text": sample.answer, "output_tools": last.get("tool_calls") or [], "output_json": _json(sample)}


def references(sample: Sample) -> list[str]:
    """The reference answer as a list of texts. Raises ValueError where there is none."""
    wanted = sample.reference_answer
    if wanted is None:
        raise ValueError("the row has no `reference_answer`")
    return [str(one) for one in wanted] if isinstance(wanted, list | tuple) else [str(wanted)]


def _output(sample: Sample, path: Sequence[str], whole: str) -> Any:
    if path[0] == "output_json" and _json(sample) is None:
        raise ValueError("the answer is not JSON")
    return _inside(output(sample), path, whole)


def _json(sample: Sample) -> Any:
    try:
        return json.loads(sample.answer)
    except (ValueError, RecursionError):
        return None


def _inside(found: Any, path: Sequence[str], whole: str) -> Any:
    for key in path:
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list | tuple) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            found = None
        if found is None:
            raise KeyError(whole)
    return found


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else str(value)
