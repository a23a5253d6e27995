"""Answers held to a form, by ember's tokenizer, whatever the model would have liked to say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bloomery.core.errors import InputError
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Grammar, Sampling
from bloomery.models.load import load_model

EMBER = Path(__file__).parents[3] / "families/ember/posttrained"


@pytest.fixture(scope="module")
def engine() -> NativeEngine:
    return NativeEngine(load_model(EMBER))


def schema(draw: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    """A random schema whose answers are short."""
    kind = draw.choice(["boolean", "integer", "string", "enum", "null"] + ["object", "array"] * (depth < 2))
    if kind == "object":
        keys = [f"k{i}" for i in range(int(draw.integers(1, 4)))]
        need = keys[: int(draw.integers(0, len(keys) + 1))]
        properties = {key: schema(draw, depth + 1) for key in keys}
        return {"type": "object", "properties": properties, "required": need, "additionalProperties": False}
    if kind == "array":
        least = int(draw.integers(0, 2))
        return {"type": "array", "items": schema(draw, depth + 1), "minItems": least, "maxItems": least + 2}
    if kind == "integer":
        return {"type": "integer", "minimum": int(draw.integers(-50, 0)), "maximum": int(draw.integers(0, 500))}
    if kind == "string":
        return {"type": "string", "minLength": int(draw.integers(0, 3)), "maxLength": int(draw.integers(3, 9))}
    if kind == "enum":
        return {"enum": ["red", 7, None, 'a"b'][: int(draw.integers(1, 5))]}
    return {"type": str(kind)}


def test_answers_to_random_schemas_are_valid(engine: NativeEngine) -> None:
    draw = np.random.default_rng(5)
    for number in range(40):
        wanted = schema(draw)
        sampling = Sampling(400, temperature=1.0, seed=number, grammar=Grammar("json_schema", json.dumps(wanted)))
        [answer] = engine.generate([[3, 4, 5]], sampling)
        assert answer.finish_reason == "stop"
        text = engine.tokenizer.decode(answer.body, skip_special_tokens=True)
        jsonschema.validate(json.loads(text), wanted)


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "(yes|no), [0-9]{3}"), r"(yes|no), [0-9]{3}"),
        (Grammar("lark", 'start: "a"+ "b"'), r"a+b"),
    ],
)
def test_answers_have_the_form(engine: NativeEngine, grammar: Grammar, pattern: str) -> None:
    for answer in engine.generate([[3, 4]] * 4, Sampling(80, temperature=1.0, seed=2, grammar=grammar)):
        text = engine.tokenizer.decode(answer.body, skip_special_tokens=True)
        assert answer.finish_reason == "length" or re.fullmatch(pattern, text)


@pytest.mark.parametrize(
    "grammar", [Grammar("json_schema", '{"type": "nope"}'), Grammar("regex", "(a"), Grammar("lark", "start: x")]
)
def test_a_grammar_that_cannot_be_used_is_refused(engine: NativeEngine, grammar: Grammar) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        engine.generate([[3]], Sampling(grammar=grammar))
