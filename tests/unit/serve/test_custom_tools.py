"""OpenAI's tools of type `custom`, with a grammar or text for input, are refused with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import ASKED, Stage

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
FORMAT = {"type": "grammar", "syntax": "lark", "definition": 'start: "SELECT " /[a-z]+/'}
NESTED = {"type": "custom", "custom": {"name": "sql", "format": {"type": "grammar", "grammar": FORMAT}}}
FLAT = {"type": "custom", "name": "sql", "description": "Runs it.", "format": FORMAT}
MADE = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT a"}}
ASKS = {"model": "ember", "input": "Show all."}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, ASKED | {"tools": [NESTED]}, "tools.0"),
        (CHAT, ASKED | {"tools": [{"type": "custom", "custom": {"name": "sql"}}]}, "tools.0"),
        (CHAT, ASKED | {"tool_choice": {"type": "custom", "custom": {"name": "sql"}}}, "tool_choice"),
        (CHAT, ASKED | {"messages": [{"role": "assistant", "tool_calls": [MADE]}]}, "messages.0.tool_calls.0"),
        (CHAT, ASKED | {"tools": [NESTED], "tool_choice": {"type": "custom", "custom": {"name": "sql"}}}, "tools.0"),
        (RESPONSES, ASKS | {"tools": [FLAT]}, "tools.0"),
        (RESPONSES, ASKS | {"tools": [FLAT], "tool_choice": {"type": "custom", "name": "sql"}}, "tools.0"),
    ],
)
def test_a_custom_tool_is_refused_with_what_to_do_instead(
    path: str, body: dict[str, Any], param: str, stream: bool
) -> None:
    stage = Stage()
    found = stage.post(path, body | {"stream": stream})
    error = found.json()["error"]
    assert found.status_code == 400 and error["param"] == param and stage.service.held == [], error
    assert "`custom` are not served: offer a `function`" in error["message"]
    assert error["message"].endswith("by `structured_outputs`")
