"""What a body that cannot be served is told: the parameter that is at fault, and what it may be."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from scripted import ASKED, Stage

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASKS = {"model": "ember", "input": "Show all."}
CUSTOM = {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT a"}


def form(told: Any) -> dict[str, Any]:
    return ASKED | {"response_format": told}


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        (CHAT, form({"type": "json_schema"}), "response_format.json_schema", "is missing"),
        (CHAT, form({"type": "json_schema", "json_schema": {}}), "response_format.json_schema.name", "is missing"),
        (CHAT, form({"type": "json_shema"}), "response_format", "text, json_object and json_schema"),
        (CHAT, form({"type": ["text"]}), "response_format", "text, json_object and json_schema"),
        (CHAT, form({"type": "text", "json_schema": {}}), "response_format.json_schema", "unknown parameter"),
        (RESPONSES, ASKS | {"previous_response_id": "resp_1"}, "previous_response_id", "nothing is kept"),
        (RESPONSES, ASKS | {"conversation": {"id": "c"}}, "conversation", "nothing is kept"),
        (RESPONSES, ASKS | {"input": [CUSTOM]}, "input.0", "Calls of tools of type `custom`"),
        (RESPONSES, ASKS | {"input": [{"role": "user"}]}, "input.0.content", "is missing"),
        (RESPONSES, ASKS | {"input": [{"type": "function_call", "name": "f"}]}, "input.0.call_id", "is missing"),
        (RESPONSES, ASKS | {"input": [7]}, "input.0", "valid dictionary"),
    ],
)
def test_the_parameter_is_named(path: str, body: dict[str, Any], param: str, words: str) -> None:
    found = Stage().post(path, body)
    error = found.json()["error"]
    assert found.status_code == 400 and error["param"] == param and words in error["message"], error


def test_items_of_every_kind_are_read() -> None:
    items = [
        {"role": "user", "content": "How many?"},
        {"type": "function_call", "call_id": "c", "name": "count", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "3"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So?"}]},
    ]
    stage = Stage()
    body = ASKS | {"input": items, "previous_response_id": None}
    assert stage.post(RESPONSES, body).status_code == 200 and len(stage.service.held) == 1


@pytest.mark.parametrize("raw", [b"{broken", b'{"model": "ember"', b"[]"])
def test_a_body_that_is_no_json_is_no_parameter(raw: bytes) -> None:
    async def go() -> httpx2.Response:
        async with Stage().client() as client:
            return await client.post(CHAT, content=raw, headers={"content-type": "application/json"})

    found = asyncio.run(go())
    error = found.json()["error"]
    assert (found.status_code, error["param"], error["code"]) == (400, None, "invalid_json")
    assert error["message"].startswith("the body is no JSON object")
