"""Functions that a model may call: told in the prompt (`core/calls.py`), forced by a grammar where one must be called,
read from answers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from typing import Any

from bloomery.engine.json_schema import rebased
from bloomery.engine.protocol import Grammar
from bloomery.serve.wire.chat import CalledFunction, Message, NamedTool, Tool, ToolCall

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
OPENINGS = ("<tool_call>", "{", "[{")
"""What an answer begins with that may turn out to be a call."""


def plain(message: Message) -> dict[str, Any]:
    """A message for the chat template: text as a string, calls with their arguments as JSON values."""
    content = message.content
    if not isinstance(content, str):
        content = "".join(part.text or part.refusal or "" for part in content or [])
    told: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role, "content": content}
    if message.name:
        told["name"] = message.name
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": _value(call.function.arguments)},
            }
            for call in message.tool_calls
        ]
    return told


def forced(tools: Sequence[Tool], choice: Any) -> Grammar | None:
    """The grammar of an answer that must be a call, of any function or the named one; None where it need not be."""
    if not isinstance(choice, NamedTool) and choice != "required":
        return None
    wanted = [tool for tool in tools if not isinstance(choice, NamedTool) or tool.function.name == choice.function.name]
    return Grammar("json_schema", json.dumps({"anyOf": [_call_schema(tool, n) for n, tool in enumerate(wanted)]}))


def _call_schema(tool: Tool, number: int) -> dict[str, Any]:
    """What call `number` of the grammar's `anyOf` must be; the arguments' own references keep their meaning there."""
    arguments = rebased(tool.function.parameters or {"type": "object"}, f"#/anyOf/{number}/properties/arguments")
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def may_begin_call(text: str) -> bool:
    """Whether an answer that begins so may be a call, so that it is read to its end before it is shown."""
    start = text.lstrip()
    return not start or any(start.startswith(opening) or opening.startswith(start) for opening in OPENINGS)


def read_calls(text: str, tools: Sequence[Tool]) -> tuple[str, list[ToolCall]]:
    """(what is said beside them, calls of known functions): tagged ones, or an answer that is nothing but JSON."""
    known = {tool.function.name for tool in tools}
    calls = [call for found in _CALL.findall(text) for call in _calls(found, known)]
    if calls:
        return _CALL.sub("", text).strip(), calls
    calls = _calls(text, known)
    return ("", calls) if calls else (text, [])


def _calls(text: str, known: set[str]) -> list[ToolCall]:
    """Calls in a piece of JSON; none where it is not, names an unknown function, or lacks arguments."""
    value = _value(text)
    found = []
    for item in value if isinstance(value, list) else [value]:
        arguments = item.get("arguments", item.get("parameters")) if isinstance(item, dict) else None
        arguments = _value(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(arguments, dict) or item.get("name") not in known:
            return []
        called = CalledFunction(name=item["name"], arguments=json.dumps(arguments, ensure_ascii=False))
        found.append(ToolCall(id=f"call_{uuid.uuid4().hex[:24]}", function=called))
    return found


def _value(text: str) -> Any:
    """JSON as a value; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
