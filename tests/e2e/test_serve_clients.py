"""Clients that nobody here wrote, over a socket: openai's, and the request shapes of langchain-openai and litellm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted_process import scripted_port

SHAPES = json.loads((Path(__file__).parent / "serve_clients.json").read_text())
ASKED: Any = [{"role": "user", "content": "Hello?"}]
ADD: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A scripted endpoint in a process of its own; it must end by itself when it is told to."""
    with scripted_port(0.001) as port:
        yield port


@pytest.fixture
def client(port: int) -> openai.OpenAI:
    return openai.OpenAI(api_key="test-token", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)


def test_openai_sync(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="ember", messages=ASKED, temperature=0, logprobs=True, top_logprobs=1)
    assert found.choices[0].message.content == "Hello there, all of you." and found.usage is not None
    assert found.choices[0].logprobs is not None and found.choices[0].logprobs.content
    assert [model.id for model in client.models.list()] == ["ember", "polite"]
    assert client.models.retrieve("ember").owned_by == "bloomery"
    assert client.completions.create(model="ember", prompt="x").choices[0].text == "Hello there, all of you."
    assert len(client.embeddings.create(model="ember", input=["a", "b"]).data[1].embedding) == 3


def test_openai_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="ember", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there, all of you."
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage is not None
    with client.chat.completions.stream(model="ember", messages=ASKED) as helped:
        assert helped.get_final_completion().choices[0].message.content == "Hello there, all of you."


def test_openai_async(port: int) -> None:
    async def go() -> list[str | None]:
        async with openai.AsyncOpenAI(api_key="test-token", base_url=f"http://127.0.0.1:{port}/v1") as client:
            asked = [client.chat.completions.create(model="ember", messages=ASKED) for _ in range(8)]
            stream = await client.chat.completions.create(model="ember", messages=ASKED, stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            return [text, *(found.choices[0].message.content for found in await asyncio.gather(*asked))]

    assert asyncio.run(go()) == ["Hello there, all of you."] * 9


def test_openai_responses(client: openai.OpenAI) -> None:
    assert client.responses.create(model="ember", input="Hi").output_text == "Hello there, all of you."
    with client.responses.stream(model="ember", input="Hi") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "Hello there, all of you."
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_openai_errors_have_their_classes(client: openai.OpenAI, port: int) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model="ember", messages=ASKED, extra_body={"temprature": 1})
    assert told.value.param == "temprature" and told.value.code == "unknown_parameter"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=ASKED)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="wrong", base_url=f"http://127.0.0.1:{port}/v1").models.list()


@pytest.mark.parametrize("shape", SHAPES, ids=[shape["of"] for shape in SHAPES])
def test_recorded_requests_of_other_clients_are_answered(client: openai.OpenAI, shape: dict[str, Any]) -> None:
    found: Any = client.post(shape["path"].removeprefix("/v1"), body=shape["body"], cast_to=object)
    if shape["body"].get("stream"):
        assert "data: [DONE]" in str(found) or "response.completed" in str(found)
    else:
        assert found.get("choices") or found.get("data") or found.get("output")
