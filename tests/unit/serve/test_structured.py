"""`structured_outputs`: what an answer must be, in vLLM's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted import ASKED, Scripted, Stage

from bloomery.engine.protocol import Grammar, Request, TooFewTokens, UnusableGrammar

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
GBNF = 'root ::= "yes" | "no"'
BODY = {CHAT: ASKED, TEXT: {"model": "ember", "prompt": "Say it:"}}


def grammar_of(path: str, asked: dict[str, Any]) -> Grammar:
    """What reaches the engine."""
    stage = Stage()
    found = stage.post(path, BODY[path] | {"structured_outputs": asked})
    assert found.status_code == 200, found.text
    [held] = stage.service.held
    assert held.request.sampling.grammar is not None
    return held.request.sampling.grammar


def refused(path: str, stage: Stage | None = None, **fields: Any) -> Any:
    stage = stage or Stage()
    found = stage.post(path, BODY[path] | fields)
    assert found.status_code == 400 and stage.service.held == [] and stage.desk.gate.taken == 0, found.text
    return found.json()["error"]


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_each_form_becomes_a_grammar(path: str) -> None:
    assert json.loads(grammar_of(path, {"json": SCHEMA}).text) == SCHEMA
    assert json.loads(grammar_of(path, {"json": json.dumps(SCHEMA), "regex": None}).text) == SCHEMA
    assert grammar_of(path, {"regex": "[a-z]+"}) == Grammar("regex", "[a-z]+")
    assert grammar_of(path, {"grammar": GBNF}) == Grammar("lark", GBNF)
    texts = ('a "b"', "ü")
    assert grammar_of(path, {"choice": [*texts]}) == Grammar("lark", 'start: "a \\"b\\"" | "ü"', texts)


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize(
    ("asked", "param", "words"),
    [
        ({}, "structured_outputs", "give one of"),
        ({"regex": "a", "choice": ["a"]}, "structured_outputs", "give one of"),
        ({"json": "{no"}, "structured_outputs.json", "no JSON"),
        ({"json": "[1]"}, "structured_outputs.json", "object"),
        ({"json": {"type": "wrong"}}, "structured_outputs.json", "no JSON schema"),
        ({"choice": []}, "structured_outputs.choice", "1"),
        ({"choice": ["x" * 40_000, "y" * 40_000]}, "structured_outputs.choice", "larger"),
        ({"regex": "a" * 70_000}, "structured_outputs.regex", "65536"),
        ({"structural_tag": "{}"}, "structured_outputs.structural_tag", "unknown parameter"),
    ],
)
def test_what_is_no_form_is_refused_by_its_key(path: str, asked: dict[str, Any], param: str, words: str) -> None:
    error = refused(path, structured_outputs=asked)
    assert error["param"] == param and words in error["message"], error


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [ADD], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_two_forms_at_once_are_refused(other: dict[str, Any], named: str) -> None:
    error = refused(CHAT, structured_outputs={"regex": "a"}, **other)
    assert error["param"] == "structured_outputs" and f"`{named}`" in error["message"]


def test_a_plain_text_format_and_free_tools_may_stand_beside_a_form() -> None:
    beside = {"response_format": {"type": "text"}, "tools": [ADD], "structured_outputs": {"regex": "a"}}
    assert Stage().post(CHAT, ASKED | beside).status_code == 200


class Refusing(Scripted):
    """An engine that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def submit(self, request: Request, told: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_form_that_the_engine_cannot_use_is_refused_by_its_key(path: str) -> None:
    stage = Stage(Refusing(UnusableGrammar("the regex cannot be used: unclosed group", fix="correct it")))
    error = refused(path, stage, structured_outputs={"regex": "(a"})
    assert error["param"] == "structured_outputs.regex" and "unclosed group" in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, ASKED | {"structured_outputs": {"regex": "a"}}, "max_tokens"),
        (CHAT, ASKED | {"structured_outputs": {"regex": "a"}, "max_completion_tokens": 5}, "max_completion_tokens"),
        (TEXT, BODY[TEXT] | {"structured_outputs": {"regex": "a"}}, "max_tokens"),
        ("/v1/responses", {"model": "ember", "input": "x", "text": {"format": {"type": "json_object"}}},
         "max_output_tokens"),
    ],
)  # fmt: skip
def test_too_few_tokens_are_refused_by_the_key_that_sets_them(path: str, body: dict[str, Any], param: str) -> None:
    found = Stage(Refusing(TooFewTokens(5, 17))).post(path, body)
    error = found.json()["error"]
    assert found.status_code == 400 and error["param"] == param
    assert f"`{param}`" in error["message"] and "17 tokens" in error["message"]


def test_the_published_shape_names_every_form() -> None:
    shape = Stage().get("/openapi.json").json()["components"]["schemas"]["StructuredOutputs"]
    assert set(shape["properties"]) == {"json", "regex", "choice", "grammar"}
