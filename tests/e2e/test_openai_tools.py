"""openai's own package against our server: functions, and answers of a form. What the model says is scripted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field
from scripted_process import scripted_port


class Add(BaseModel):
    """Add two numbers."""

    a: int
    b: int


class Weather(BaseModel):
    city: str = Field(description="Where")


class Born(BaseModel):
    year: int


class Person(BaseModel):
    name: str
    born: Born
    skills: list[str]


TOOLS: Any = [openai.pydantic_function_tool(Add, name="add"), openai.pydantic_function_tool(Weather, name="weather")]
ITEMS: Any = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with scripted_port(0.001) as port:
        yield openai.OpenAI(api_key="test-token", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)


def asked(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_call_is_answered_by_its_result_in_the_next_turn(client: openai.OpenAI) -> None:
    messages = asked("ADD 2 and 3")
    first = client.chat.completions.create(model="ember", messages=messages, tools=TOOLS, tool_choice="auto")
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    [call] = choice.message.tool_calls or []
    assert call.type == "function" and call.function.name == "add"
    result = Add.model_validate_json(call.function.arguments)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": str(result.a + result.b)}]
    last = client.chat.completions.create(model="ember", messages=messages, tools=TOOLS)
    assert last.choices[0].message.content == "It is 5." and last.choices[0].finish_reason == "stop"


def test_an_answer_that_calls_nothing_is_text(client: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        found = client.chat.completions.create(model="ember", messages=asked("Hi"), tools=TOOLS, tool_choice=choice)
        assert found.choices[0].message.content == "Hello there, all of you."
        assert found.choices[0].message.tool_calls is None and found.choices[0].finish_reason == "stop"
    silent = client.chat.completions.create(model="ember", messages=asked("ADD"), tools=TOOLS, tool_choice="none")
    assert silent.choices[0].message.tool_calls is None and "<tool_call>" in (silent.choices[0].message.content or "")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_call_that_must_be_made_is_made(client: openai.OpenAI, choice: Any) -> None:
    found = client.chat.completions.create(model="ember", messages=asked("FORCED"), tools=TOOLS, tool_choice=choice)
    [call] = found.choices[0].message.tool_calls or []
    assert call.type == "function" and json.loads(call.function.arguments) == {"a": 2, "b": 3}
    assert found.choices[0].finish_reason == "tool_calls"


def test_calls_are_streamed_and_put_together_again_by_the_client(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="ember", messages=asked("BOTH"), tools=TOOLS, stream=True)
    said, calls, finish = "", dict[int, Any](), None
    for chunk in stream:
        [choice] = chunk.choices
        said += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or []:
            calls.setdefault(call.index, []).append(call)
    assert said.strip() == "Let me see." and finish == "tool_calls" and sorted(calls) == [0, 1]
    assert [calls[n][0].function.name for n in calls] == ["add", "weather"]
    assert all(part[0].id for part in calls.values()) and calls[0][0].id != calls[1][0].id
    with client.chat.completions.stream(model="ember", messages=asked("BOTH"), tools=TOOLS) as helped:
        kinds = {event.type for event in helped}
        message = helped.get_final_completion().choices[0].message
    assert "tool_calls.function.arguments.done" in kinds and "content.delta" in kinds
    assert [call.function.parsed_arguments for call in message.tool_calls or []] == [
        Add(a=2, b=3),
        Weather(city="Köln"),
    ]


def test_parse_gives_the_arguments_as_their_models(client: openai.OpenAI) -> None:
    found = client.chat.completions.parse(model="ember", messages=asked("ADD"), tools=TOOLS)
    [call] = found.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == Add(a=2, b=3)


@pytest.mark.parametrize("beta", [False, True])
def test_parse_gives_an_answer_as_its_model(client: openai.OpenAI, beta: bool) -> None:
    completions: Any = client.beta.chat.completions if beta else client.chat.completions
    found = completions.parse(model="ember", messages=asked("PERSON"), response_format=Person)
    assert found.choices[0].message.parsed == Person(name="Ada", born=Born(year=1815), skills=["maths"])
    with client.chat.completions.stream(model="ember", messages=asked("PERSON"), response_format=Person) as stream:
        last = stream.get_final_completion().choices[0].message
    assert last.parsed == found.choices[0].message.parsed


def test_an_answer_cut_short_is_no_answer_of_the_form(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="ember", messages=asked("PERSON"), response_format=Person, max_tokens=5)


def test_json_mode_and_strict_schemas_are_taken(client: openai.OpenAI) -> None:
    schema: Any = {"name": "person", "strict": True, "schema": Person.model_json_schema()}
    forms: list[Any] = [{"type": "json_object"}, {"type": "json_schema", "json_schema": schema}, {"type": "text"}]
    for form in forms:
        found = client.chat.completions.create(model="ember", messages=asked("PERSON"), response_format=form)
        assert Person.model_validate_json(found.choices[0].message.content or "").name == "Ada"
    with pytest.raises(openai.BadRequestError) as told:
        broken: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "strin"}}}
        client.chat.completions.create(model="ember", messages=asked("PERSON"), response_format=broken)
    assert told.value.param == "response_format.json_schema.schema"


def test_responses_parse_gives_the_model(client: openai.OpenAI) -> None:
    found = client.responses.parse(model="ember", input="PERSON", text_format=Person)
    assert found.output_parsed == Person(name="Ada", born=Born(year=1815), skills=["maths"])
    with client.responses.stream(model="ember", input="PERSON", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == found.output_parsed
    cut = client.responses.create(model="ember", input="PERSON", max_output_tokens=16)
    assert cut.status == "incomplete" and cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


def test_responses_call_functions_and_take_their_results(client: openai.OpenAI) -> None:
    items: Any = [{"role": "user", "content": "ADD 2 and 3"}]
    first = client.responses.create(model="ember", input=items, tools=ITEMS)
    [call] = first.output
    assert call.type == "function_call" and json.loads(call.arguments) == {"a": 2, "b": 3}
    items += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "5"}]
    assert client.responses.create(model="ember", input=items, tools=ITEMS).output_text == "It is 5."
    forced = client.responses.create(
        model="ember", input="FORCED", tools=ITEMS, tool_choice={"type": "function", "name": "add"}
    )
    assert [item.type for item in forced.output] == ["function_call"]
    parsed: Any = client.responses.parse(model="ember", input="ADD", tools=ITEMS)
    assert [item.type for item in parsed.output] == ["function_call"]


def test_responses_stream_their_calls(client: openai.OpenAI) -> None:
    with client.responses.stream(model="ember", input="BOTH", tools=ITEMS) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_response()
    assert kinds.count("response.function_call_arguments.done") == 2 and kinds[-1] == "response.completed"
    assert [item.type for item in last.output] == ["message", "function_call", "function_call"]
    assert last.output_text.strip() == "Let me see."
