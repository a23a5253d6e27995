"""What an answer must be, as requests say it: a JSON schema, a regular expression, one of several texts, a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bloomery.engine.protocol import Grammar
from bloomery.serve.errors import Refusal
from bloomery.serve.limits import SCHEMA, SCHEMA_DEPTH
from bloomery.serve.wire.request import StructuredOutputs

KEY = "structured_outputs"


def structured(asked: StructuredOutputs) -> tuple[Grammar, str]:
    """The grammar that `structured_outputs` asks for, and the key it came from. Raises `Refusal`."""
    [(name, value)] = ((name, value) for name, value in asked if value is not None)
    key = f"{KEY}.{name}"
    if name == "schema_":
        key = f"{KEY}.json"
        return schema_grammar(_schema(value, key), key), key
    texts: tuple[str, ...] = ()
    if name == "choice":
        texts = tuple(value)
        value = "start: " + " | ".join(json.dumps(one, ensure_ascii=False) for one in value)
    if len(value) > SCHEMA:
        raise Refusal(400, f"`{key}` is larger than {SCHEMA >> 10} KB", param=key, code="invalid_value")
    return Grammar("regex" if name == "regex" else "lark", value, texts), key


def _schema(given: dict[str, Any] | str, key: str) -> dict[str, Any]:
    """A schema that may come as text, as vLLM has it."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise Refusal(400, f"`{key}` is no JSON", param=key, code="invalid_value") from None
    if not isinstance(given, dict):
        raise Refusal(400, f"`{key}` is no JSON schema: give an object", param=key, code="invalid_value")
    return given


def schema_grammar(schema: Mapping[str, Any], param: str) -> Grammar:
    """The grammar of a JSON schema. Raises `Refusal` for one that is no schema, or too large to compile for a guest."""
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    text = json.dumps(schema)
    if len(text) > SCHEMA or _depth(schema) > SCHEMA_DEPTH:
        message = f"`{param}` is larger than {SCHEMA >> 10} KB, or deeper than {SCHEMA_DEPTH} levels"
        raise Refusal(400, message, param=param, code="invalid_value")
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise Refusal(400, f"`{param}` is no JSON schema: {error.message[:200]}", param=param) from None
    return Grammar("json_schema", text)


def _depth(value: Any) -> int:
    deepest, open_values = 0, [(value, 1)]
    while open_values:
        inner, depth = open_values.pop()
        deepest = max(deepest, depth)
        children = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
        open_values += [(child, depth + 1) for child in children]
    return deepest
