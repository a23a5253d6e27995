"""Answers under a grammar end within the tokens they may have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from bloomery.engine.grammar import NEAR, Grammars
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Grammar, Sampling, TooFewTokens
from bloomery.models.load import load_model

EMBER = Path(__file__).parents[3] / "families/ember/posttrained"


@pytest.fixture(scope="module")
def engine() -> NativeEngine:
    return NativeEngine(load_model(EMBER))


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    tokenizer = AutoTokenizer.from_pretrained(EMBER)
    return Grammars(tokenizer, len(tokenizer), (tokenizer.eos_token_id,))


def json_schema(schema: dict[str, Any]) -> Grammar:
    return Grammar("json_schema", json.dumps(schema))


def shortest(grammars: Grammars, grammar: Grammar) -> str:
    """The shortest answer that is found."""
    matcher = grammars._compiled(grammar)[0]
    found = grammars._endings.shortest(matcher)
    assert found is not None
    return grammars._tokenizer.decode_str(list(found.ids))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object"}, "{}"),
        ({"enum": ["red", [1], {"k": 1}, 7]}, "7"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, "[0,0,0]"),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["b"]},
         '{"b":null}'),
        ({"anyOf": [{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, {"type": "null"}]},
         "null"),
    ],
)  # fmt: skip
def test_the_shortest_answer_of_a_schema_is_found(grammars: Grammars, schema: dict[str, Any], text: str) -> None:
    assert shortest(grammars, json_schema(schema)) == text


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "(ab)*cd"), "(ab)?cd"),
        (Grammar("regex", r"\w+@\w+\.com\n"), r"\w{1,2}@\w\.com\n"),
        (Grammar("regex", r"[a-z]{30,}[0-9]+\."), r"[a-z]{30,60}[0-9]\."),
        (Grammar("lark", 'start: "(" start ")" | "x"'), "x"),
        (Grammar("lark", 'start: "SELECT " c (", " c)* " FROM " /[a-z]+/ ";"\nc: "a" | "bb"'), "SELECT a FROM .;"),
    ],
)
def test_the_end_of_a_grammar_is_found_past_its_loops(grammars: Grammars, grammar: Grammar, pattern: str) -> None:
    text = shortest(grammars, grammar)
    assert re.fullmatch(pattern, text), text


def test_a_stop_token_counts_only_where_the_grammar_could_go_on(grammars: Grammars) -> None:
    for text, stop in (("yes", False), ("(yes)+", True)):
        matcher = grammars._compiled(Grammar("regex", text))[0]
        found = grammars._endings.shortest(matcher)
        assert found is not None and found.stop is stop and len(found) == len(found.ids) + stop
        assert grammars._endings.checked(matcher, found.ids[:-1]) is None


def test_a_search_leaves_its_matcher_as_it_is(grammars: Grammars) -> None:
    matcher = grammars._compiled(json_schema({"type": "object"}))[0]
    before = matcher.compute_bitmask()
    grammars._endings.shortest(matcher)
    assert matcher.compute_bitmask() == before and not matcher.is_error()


DEEP = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}
WORDS = {"type": "array", "items": {"type": "string", "minLength": 8}, "minItems": 2}


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": "object"}, DEEP, WORDS])
def test_every_answer_ends_whatever_its_limit(engine: NativeEngine, schema: dict[str, Any]) -> None:
    least = engine.grammars.matcher(json_schema(schema)).least
    for limit in (least, least + 1, 24):
        sampling = Sampling(limit, temperature=2.0, seed=limit, grammar=json_schema(schema))
        for answer in engine.generate([[3, 4]] * 6, sampling):
            text = engine.tokenizer.decode(answer.body, skip_special_tokens=True)
            json.loads(text)
            assert answer.finish_reason == "stop" and len(answer.ids) <= limit
            assert all(logprob <= 0 for logprob in answer.logprobs)


def test_fewer_tokens_than_any_answer_needs_are_refused_with_the_least(engine: NativeEngine) -> None:
    texts = ("a rather long answer", "a long one")
    grammar = Grammar("lark", 'start: "a rather long answer" | "a long one"', texts)
    least = engine.grammars.matcher(grammar).needed
    assert least == len(engine.tokenizer("a long one", add_special_tokens=False)["input_ids"])
    with pytest.raises(TooFewTokens, match=rf"max_new_tokens: {least - 1}`.* {least} tokens"):
        engine.generate([[3]], Sampling(least - 1, grammar=grammar))
    [answer] = engine.generate([[3]], Sampling(least, grammar=grammar))
    assert answer.finish_reason == "stop" and len(answer.ids) == least


def test_a_shortest_answer_that_is_only_found_refuses_nothing(engine: NativeEngine) -> None:
    schema = {
        "anyOf": [{"type": "object", "properties": {"a_long_key": {"type": "string"}}, "required": ["a_long_key"]}]
    }
    [answer] = engine.generate([[3]], Sampling(2, grammar=json_schema(schema)))
    assert answer.finish_reason == "length" and len(answer.ids) == 2


def test_an_ending_that_is_not_found_is_not_looked_for_again(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    monkeypatch.setattr(grammars._endings, "find", lambda *_: looked.append(1))
    for text in ("(ab|cd){3000}", "[a-z]{3000}"):
        matcher = grammars.matcher(Grammar("regex", text))
        looked.clear()
        for left in range(200, 0, -1):
            assert matcher.within(5, left) == 5
        assert len(looked) <= 1


def test_an_answer_far_from_its_limit_is_left_alone(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> None:
    matcher = grammars.matcher(Grammar("regex", "(ab)*cd"))
    token = grammars._tokenizer.tokenize_str("ab")[0]
    monkeypatch.setattr(grammars._endings, "find", lambda *_: pytest.fail("looked for an ending"))
    assert matcher.within(token, NEAR + 1) == token


def test_an_answer_whose_end_is_too_far_already_is_left_to_be_cut(grammars: Grammars) -> None:
    matcher = grammars.matcher(Grammar("regex", "x{40}"))
    matcher._ending = None  # as after many tokens that were not watched
    token = grammars._tokenizer.tokenize_str("x")[0]
    assert matcher.within(token, 3) == token
