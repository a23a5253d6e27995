"""`/v1/messages`: Anthropic's dialect of the same conversation."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted import TOKEN, Scripted, Stage

TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
CALL = 'I add.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
ASKED: dict[str, Any] = {"model": "ember", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello?"}]}


def ask(stage: Stage, **fields: Any) -> Any:
    found = stage.post("/v1/messages", ASKED | fields)
    assert found.status_code == 200, found.text
    return found.json()


def events(stage: Stage, **fields: Any) -> list[Any]:
    text = stage.post("/v1/messages", ASKED | {"stream": True} | fields).text
    parts = [part.split("\n") for part in text.strip().split("\n\n")]
    told = [json.loads(data.removeprefix("data: ")) for _, data in parts]
    assert [name for name, _ in parts] == [f"event: {one['type']}" for one in told]
    return told


def test_an_answer_its_end_and_its_usage() -> None:
    stage = Stage()
    found = ask(stage, system="Be kind.", stop_sequences=["zzz"], temperature=0.5, top_k=3)
    assert found["content"] == [{"type": "text", "text": "Hello there."}] and found["stop_reason"] == "end_turn"
    [held] = stage.service.held
    assert found["usage"]["input_tokens"] == len(held.request.prompt) and found["usage"]["output_tokens"] == 6
    assert "system\nBe kind." in stage.service.tokenizer.decode(held.request.prompt)
    assert (held.request.sampling.temperature, held.request.sampling.top_k) == (0.5, 3)
    assert ask(Stage(), max_tokens=2)["stop_reason"] == "max_tokens"


def test_calls_and_results_are_blocks() -> None:
    stage = Stage(Scripted(lambda request: CALL))
    found = ask(stage, tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    text, call = found["content"]
    assert text == {"type": "text", "text": "I add."} and found["stop_reason"] == "tool_use"
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "add", {"a": 1})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "7"}]}
    turns = [*ASKED["messages"], {"role": "assistant", "content": found["content"]},
             {"role": "user", "content": [{"type": "text", "text": "So?"}, result]}]  # fmt: skip
    ask(stage, tools=[TOOL], messages=turns)
    prompt = stage.service.tokenizer.decode(stage.service.held[1].request.prompt)
    assert '"arguments": {"a": 1}' in prompt
    assert prompt.index("<tool_response>\n7\n</tool_response>") < prompt.index("So?")


def test_the_stream_says_the_same() -> None:
    told = events(Stage(Scripted(lambda request: CALL)), tools=[TOOL])
    assert told[0]["message"]["content"] == [] and told[0]["message"]["usage"]["input_tokens"] > 0
    starts = [one["content_block"]["type"] for one in told if one["type"] == "content_block_start"]
    assert starts == ["text", "tool_use"]
    deltas = [one["delta"] for one in told if one["type"] == "content_block_delta"]
    assert "".join(one.get("text", "") for one in deltas).strip() == "I add."
    assert json.loads("".join(one.get("partial_json", "") for one in deltas)) == {"a": 1}
    assert [one["index"] for one in told if one["type"] == "content_block_stop"] == [0, 1]
    assert told[-2]["delta"]["stop_reason"] == "tool_use" and told[-1] == {"type": "message_stop"}


def test_a_call_that_must_be_made() -> None:
    answer = '{"name": "add", "arguments": {"a": 2}}'
    for choice in ({"type": "any"}, {"type": "tool", "name": "add"}):
        stage = Stage(Scripted(lambda request: answer))
        assert ask(stage, tools=[TOOL], tool_choice=choice)["content"][0]["input"] == {"a": 2}
        assert stage.service.held[0].request.sampling.grammar is not None
    assert ask(Stage(), tools=[TOOL], tool_choice={"type": "none"})["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": None}, {"messages": []}, {"temperature": 1.5}, {"temprature": 1},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"tools": [TOOL], "tool_choice": {"type": "tool"}}, {"tools": [{"type": "web_search_20250305", "name": "x"}]},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_its_words(fields: dict[str, Any]) -> None:
    found = Stage().post("/v1/messages", ASKED | fields)
    assert found.status_code == 400 and found.json()["type"] == "error" and found.json()["error"]["message"]


def test_the_token_may_come_as_its_clients_send_it() -> None:
    stage = Stage()

    async def status(key: str) -> int:
        async with stage.client(None) as client:
            return (await client.post("/v1/messages", json=ASKED, headers={"x-api-key": key})).status_code

    assert asyncio.run(status(TOKEN)) == 200 and asyncio.run(status("wrong")) == 401
