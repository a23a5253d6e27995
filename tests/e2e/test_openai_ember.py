"""openai's own package against `bloomery serve ember/posttrained`: what a grammar forces holds, whatever ember says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field
from served import TOKEN, served

ASKED: Any = [{"role": "user", "content": "Plan a walk."}]


class Kind(Enum):
    HILL = "hill"
    LAKE = "lake"


class Place(BaseModel):
    name: str = Field(min_length=1, max_length=12)
    kind: Kind


class Walk(BaseModel):
    """A plan, with what pydantic makes of nested models, unions and bounds."""

    places: list[Place] = Field(min_length=1, max_length=2)
    hours: int = Field(gt=0, lt=12)
    level: Literal["easy", "hard"]
    note: str | None = Field(max_length=10)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with served("ember/posttrained", "--name", "ember", within=tmp_path_factory.mktemp("ember")) as (http, _):
        yield openai.OpenAI(api_key=TOKEN, base_url=f"{http.base_url}/v1", max_retries=0)


@pytest.mark.parametrize("seed", range(4))
def test_parsed_answers_are_their_model(client: openai.OpenAI, seed: int) -> None:
    found = client.chat.completions.parse(
        model="ember", messages=ASKED, response_format=Walk, seed=seed, temperature=1, max_tokens=300
    )
    assert isinstance(found.choices[0].message.parsed, Walk)
    response = client.responses.parse(
        model="ember", input="Plan a walk.", text_format=Walk, temperature=1, max_output_tokens=300
    )
    assert isinstance(response.output_parsed, Walk)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "plan"}}])
def test_forced_calls_have_arguments_of_their_model(client: openai.OpenAI, choice: Any) -> None:
    tools: Any = [openai.pydantic_function_tool(Walk, name="plan"), openai.pydantic_function_tool(Place, name="visit")]
    found = client.chat.completions.parse(
        model="ember", messages=ASKED, tools=tools, tool_choice=choice, seed=1, temperature=1, max_tokens=300
    )
    [call] = found.choices[0].message.tool_calls or []
    wanted = {"plan": Walk, "visit": Place} if choice == "required" else {"plan": Walk}
    assert isinstance(call.function.parsed_arguments, wanted[call.function.name])
    with client.chat.completions.stream(
        model="ember", messages=ASKED, tools=tools, tool_choice=choice, seed=1, temperature=1, max_tokens=300
    ) as stream:
        last = stream.get_final_completion().choices[0]
    assert last.finish_reason == "tool_calls" and last.message.tool_calls
    assert last.message.tool_calls[0].function.arguments == call.function.arguments


def test_json_mode_is_an_object(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_object"}
    found = client.chat.completions.create(
        model="ember", messages=ASKED, response_format=form, temperature=1, seed=3, max_tokens=400
    )
    assert found.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(found.choices[0].message.content or ""), dict)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "properties": {"a": {"const": 0.30000000000000004}}, "required": ["a"]}, "const"),
    ],
)
def test_a_schema_that_cannot_be_held_to_is_refused_by_its_keyword(
    client: openai.OpenAI, schema: Any, keyword: str
) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match=keyword) as told:
        client.chat.completions.create(model="ember", messages=ASKED, response_format=form)
    assert told.value.param == "response_format"
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    with pytest.raises(openai.BadRequestError, match=keyword) as told:
        client.chat.completions.create(model="ember", messages=ASKED, tools=tools, tool_choice="required")
    assert told.value.param == "tools"


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ({"regex": "[A-Z]{3}-[0-9]{4}"}, "[A-Z]{3}-[0-9]{4}"),
        ({"choice": ["a hill", 'the "lake"']}, 'a hill|the "lake"'),
        ({"grammar": 'start: "go" (" on")* "."'}, r"go( on)*\."),
        ({"grammar": 'root ::= "go" (" on")* "."'}, r"go( on)*\."),
        ({"json": {"type": "array", "items": {"type": "boolean"}}}, r"\[.*\]"),
    ],
)
def test_answers_have_the_form_that_a_request_asks_for(client: openai.OpenAI, asked: Any, pattern: str) -> None:
    form: Any = {"structured_outputs": asked}
    said = client.chat.completions.create(
        model="ember", messages=ASKED, temperature=1.5, seed=2, max_tokens=20, extra_body=form
    ).choices[0]
    went_on = client.completions.create(model="ember", prompt="A walk:", max_tokens=20, extra_body=form).choices[0]
    for text, reason in ((said.message.content, said.finish_reason), (went_on.text, went_on.finish_reason)):
        assert re.fullmatch(pattern, text or "") and reason == "stop"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "start: x"}}, "structured_outputs.grammar"),
        (
            {"structured_outputs": {"choice": ["A walk of many hours through wide and open fields", "A" * 60]}},
            "max_tokens",
        ),
    ],
)
def test_a_form_that_cannot_be_kept_to_is_refused_by_its_key(client: openai.OpenAI, asked: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.completions.create(model="ember", prompt="A walk:", max_tokens=8, extra_body=asked)
    assert told.value.param == param
