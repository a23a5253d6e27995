"""Answers held to a form, by ember's tokenizer, whatever the model would have liked to say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from random_schemas import answered, problem, random_schemas, text_of

from bloomery.core.errors import InputError
from bloomery.engine.json_schema import held, rebased
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Grammar, Sampling, UnusableGrammar
from bloomery.engine.schema_ends import ends
from bloomery.models.load import load_model

EMBER = Path(__file__).parents[3] / "families/ember/posttrained"


@pytest.fixture(scope="module")
def engine() -> NativeEngine:
    return NativeEngine(load_model(EMBER))


def json_schema(schema: dict[str, Any]) -> Grammar:
    return Grammar("json_schema", json.dumps(schema))


def allows(engine: NativeEngine, schema: dict[str, Any], text: str) -> bool:
    """Whether an answer could be `text`."""
    grammars = engine.grammars
    matcher: Any = grammars.matcher(json_schema(schema))._matcher
    ids = grammars._tokenizer.tokenize_bytes(text.encode())
    if matcher.validate_tokens(ids) < len(ids):
        return False
    matcher.consume_tokens(ids)
    return bool(matcher.is_accepting())


def test_answers_to_random_schemas_are_valid(engine: NativeEngine) -> None:
    """`bench/schemas.py` tries more."""
    schemas = random_schemas(5, 40)
    answers, refused = answered(engine, schemas, 400)
    ended = [number for number, one in answers.items() if one.ended == "stop"]
    assert not refused and len(ended) == 40
    for number in ended:
        text = text_of(engine, answers[number])
        assert not problem(text, schemas[number]), (schemas[number], text)


OPEN = {"type": "object", "properties": {"a": {"type": "integer"}}}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "text", "wanted"),
    [
        (OPEN, '{"a":1,"b":"x"}', True),
        (OPEN, '{"\\u0061":"x"}', False),  # it would be `a`
        (OPEN | {"x-guidance": {"json_allowed_escapes": 'nu"'}}, '{"\\u0061":"x"}', False),
        ({"type": "number", "exclusiveMaximum": 1}, "0.99999999999", True),
        ({"type": "number", "exclusiveMaximum": 1}, "0.99999999999999999999", False),  # it would be 1
        ({"type": "number", "exclusiveMinimum": 0, "minimum": -1}, "0.0000000001", True),
        ({"type": "number", "exclusiveMinimum": 0, "minimum": -1}, "0." + "0" * 330 + "1", False),
        ({"exclusiveMinimum": 0.5, "minimum": 0.75}, "0.6", False),
        ({"type": "integer", "exclusiveMaximum": 3}, "2", True),
        (TEXT | {"format": "date"}, '"2024-02-29"', True),
        (TEXT | {"format": "date"}, '"2023-02-29"', False),
        (TEXT | {"format": "date"}, '"1900-02-29"', False),
        (TEXT | {"format": "date"}, '"2000-02-29"', True),
        (TEXT | {"format": "date"}, '"0000-01-01"', False),
        (TEXT | {"format": "date", "pattern": "^2"}, '"1999-01-01"', False),
        (TEXT | {"format": "date-time"}, '"2023-12-31T10:59:59Z"', True),
        (TEXT | {"format": "date-time"}, '"2023-12-31T10:59:60Z"', False),
        (TEXT | {"format": "time"}, '"10:59:60Z"', False),
        (TEXT | {"format": "hostname"}, '"' + ".".join(["a" * 60] * 4) + '"', True),
        (TEXT | {"format": "hostname"}, '"' + ".".join(["a" * 60] * 5) + '"', False),
        (TEXT | {"pattern": "^.$"}, '"\u2028"', False),
        (TEXT | {"pattern": "^[.]$"}, '"."', True),
        ({"properties": {"format": {"type": "string"}, "pattern": {"const": "."}}, "type": "object"}, "{}", True),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}}, "null", True),
    ],
)
def test_what_a_schema_does_not_allow_cannot_be_said(
    engine: NativeEngine, schema: dict[str, Any], text: str, wanted: bool
) -> None:
    assert allows(engine, schema, text) is wanted


LINK = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {"type": "string"}, "then": {"maxLength": 2}}, "if"),
        ({"type": "object", "propertyNames": {"maxLength": 2}}, "propertyNames"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "format": "regex"}, "format"),
        ({"type": "string", "pattern": "^(?=a)"}, "look-around"),
        ({"type": "string", "pattern": "[[:alpha:]]"}, "pattern"),
        ({"type": "string", "pattern": "[a-z&&[^x]]"}, "pattern"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"const": -109.22561189039709}, "const"),
        ({"enum": [1, {"a": [2**53]}]}, "enum"),
        ({"type": "number", "maximum": 0.30000000000000004}, "maximum"),
        ({"type": "integer", "minimum": 2**53}, "minimum"),
        ({"type": "number", "multipleOf": 1e-30}, "multipleOf"),
        ({"const": "a\u0001"}, "const"),
        ({"type": "object", "properties": {"a": {"type": "object", "properties": {"\x7f": {}}}}}, "properties/a"),
        ({"$ref": "#"}, "$ref"),
        (LINK, "$ref"),
        ({"type": "array", "items": LINK | {"properties": {"next": {"$ref": "#/items"}}}, "minItems": 1}, "$ref"),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_its_keyword(
    engine: NativeEngine, schema: dict[str, Any], keyword: str
) -> None:
    with pytest.raises(UnusableGrammar, match=re.escape(keyword)):
        engine.grammars.matcher(json_schema(schema))


def test_a_recursion_with_a_way_out_is_taken() -> None:
    way_out = {"anyOf": [{"$ref": "#"}, {"type": "null"}]}
    assert ends(LINK | {"properties": {"next": way_out}}) and ends(LINK | {"required": []})
    assert ends({"$ref": "#/$defs/elsewhere"}) and ends({"$ref": "http://other"}) and not ends(LINK)


def test_a_schema_keeps_its_meaning_within_another() -> None:
    inner = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"$ref": {"$ref": "#"}}}}}
    moved = rebased(inner, "#/anyOf/0")
    assert moved["$ref"] == "#/anyOf/0/$defs/n"
    assert moved["$defs"]["n"]["properties"]["$ref"] == {"$ref": "#/anyOf/0"}
    assert inner["$ref"] == "#/$defs/n" and held(json.dumps(inner)) == json.dumps(inner)


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "(yes|no), [0-9]{3}"), r"(yes|no), [0-9]{3}"),
        (Grammar("lark", 'start: "a"+ "b"'), r"a+b"),
        (Grammar("lark", 'root ::= word ("," word)?\nword ::= "yes" | [0-9]'), r"(yes|[0-9])(,(yes|[0-9]))?"),
        (Grammar("lark", 'start: "a \\"b\\"" | "\\n\\\\ü"'), r'a "b"|\n\\ü'),
    ],
)
def test_answers_have_the_form(engine: NativeEngine, grammar: Grammar, pattern: str) -> None:
    for answer in engine.generate([[3, 4]] * 4, Sampling(80, temperature=1.0, seed=2, grammar=grammar)):
        text = engine.tokenizer.decode(answer.body, skip_special_tokens=True)
        assert answer.finish_reason == "stop" and re.fullmatch(pattern, text)


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("json_schema", '{"type": "nope"}'), Grammar("regex", "(a"), Grammar("lark", "start: x"),
        Grammar("lark", "root ::= (x"), Grammar("regex", r"[^\s\S]"),
    ],
)  # fmt: skip
def test_a_grammar_that_cannot_be_used_is_refused(engine: NativeEngine, grammar: Grammar) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        engine.generate([[3]], Sampling(grammar=grammar))


def test_a_regex_that_cannot_be_used_is_told_by_what_is_wrong_with_it(engine: NativeEngine) -> None:
    with pytest.raises(InputError, match=r"look-around, .* is not supported"):
        engine.generate([[3]], Sampling(grammar=Grammar("regex", "(?=a)b")))


@pytest.mark.parametrize("text", ['start: "a" start', 'start: "c"* start', 'root ::= "ab" root'])
def test_a_grammar_whose_beginning_never_ends_is_refused_with_the_reason(engine: NativeEngine, text: str) -> None:
    with pytest.raises(UnusableGrammar, match=r"begins with never ends.*a way out"):
        engine.generate([[3]], Sampling(8, grammar=Grammar("lark", text)))


TAIL = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/tail"}},
    "required": ["n"],
    "additionalProperties": False,
}
PART = {"type": "object", "properties": {"k": {"enum": ["xy"]}, "t": {"$ref": "#/$defs/tail"}}}


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("lark", 'start: "b" x\nx: "c" y | "d" y\ny: "a" y'), r"b[cd]a+"),
        (Grammar("lark", 'start: ("b" | "c") x\nx: "a"* x'), r"[bc]a+"),
    ],
)
def test_an_answer_that_comes_to_where_nothing_ends_is_cut_by_its_limit(
    engine: NativeEngine, grammar: Grammar, pattern: str
) -> None:
    [answer] = engine.generate([[3, 4]], Sampling(24, grammar=grammar))
    text = engine.tokenizer.decode(answer.ids, skip_special_tokens=True)
    assert answer.finish_reason == "length" and len(answer.ids) == 24 and re.fullmatch(pattern, text), text


def test_a_schema_of_which_one_part_never_ends_is_kept_to_all_the_same(engine: NativeEngine) -> None:
    matcher = engine.grammars.matcher(json_schema(PART | {"$defs": {"tail": TAIL}, "additionalProperties": False}))
    begun = engine.grammars._tokenizer.tokenize_str('{"k":"xy","t":{"n":{"n":')
    assert [matcher.take(token) for token in begun] == [""] * len(begun)
    assert not matcher.ended and matcher.take(engine.grammars._tokenizer.tokenize_str(" ")[0])
