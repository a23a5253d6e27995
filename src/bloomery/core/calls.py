"""Functions, calls of them and their results as text, for chat templates that know none: in training as in answering.

`PREAMBLE` then goes before the conversation, calls are written `<tool_call>{"name": ..., "arguments": {...}}
</tool_call>` and results `<tool_response>...</tool_response>`, the format of the Hermes and Qwen families.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

PREAMBLE = (
    "You may call functions. Each is described by a JSON schema in <tools></tools>:\n<tools>\n{tools}\n</tools>\n"
    "To call one, answer with its name and arguments as JSON in <tool_call></tool_call>:\n"
    '<tool_call>\n{{"name": "function", "arguments": {{}}}}\n</tool_call>'
)
_RESULTS = ("tool", "function", "observation")

Messages = Sequence[Mapping[str, Any]]


def spelled_out(messages: Messages, tools: Sequence[Any], template: str = "") -> tuple[Messages, Sequence[Any]]:
    """Messages whose content is a string, and tools, as a chat template can take them.

    What it does not speak of is text: calls and results where it names no `tool_calls`, the functions themselves, in a
    first message of the system's, where it names no `tools`.
    """
    if not re.search(r"\btool_calls\b", template):
        messages = [_spelled(message) for message in messages]
    if not tools or re.search(r"\btools\b", template):
        return messages, tools
    listed = "\n".join(_json(_function(tool)) for tool in tools)
    preamble = PREAMBLE.format(tools=listed)
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{preamble}"}
        return [first, *messages[1:]], ()
    return [{"role": "system", "content": preamble}, *messages], ()


def _spelled(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if message["role"] in _RESULTS:
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if not message.get("tool_calls"):
        return message
    said = [message["content"]] if message["content"] else []
    said += [f"<tool_call>\n{_json(_called(call))}\n</tool_call>" for call in message["tool_calls"]]
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join(said)}


def _called(call: Any) -> Any:
    """A call's name and arguments; these may be JSON text, as OpenAI sends them."""
    found = _function(call)
    if not isinstance(found, Mapping) or not isinstance(found.get("arguments"), str):
        return found
    try:
        return {**found, "arguments": json.loads(found["arguments"])}
    except ValueError:
        return found


def _function(value: Any) -> Any:
    return value.get("function", value) if isinstance(value, Mapping) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
