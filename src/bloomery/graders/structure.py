"""Answers that must be JSON of a stated form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import regex  # type: ignore[import-untyped]  # re with a time limit

from bloomery.core.errors import InputError
from bloomery.graders.answers import REGEX_SECONDS
from bloomery.graders.payload import Sample, Score
from bloomery.graders.replies import once

FENCED = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)
MOST = 1 << 20
"""Characters of an answer that are parsed."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """1 where the whole answer is JSON that the schema allows (draft 2020-12, or what its `$schema` names)."""

    schema: Mapping[str, Any]
    name: str = "json_schema"
    fenced: bool = False
    """The answer may stand in a ``` block."""
    verified: bool = True
    checker: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        from jsonschema import SchemaError, validators  # type: ignore[import-untyped]

        if not isinstance(self.schema, Mapping):
            raise InputError("`schema` is no JSON schema", fix="write it as a mapping")
        if elsewhere := _remote(self.schema):
            raise InputError(f"`schema` refers to `{elsewhere}`, outside itself", fix="write that part out")
        kind = validators.validator_for(self.schema, validators.Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except SchemaError as error:
            raise InputError(f"`schema` is no JSON schema: {error.message[:200]}", fix="correct it") from None
        limited: Any = validators.extend(kind, LIMITED)
        object.__setattr__(self, "checker", limited(self.schema))

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0, with what is wrong as the reason; an answer that is no JSON is 0."""
        return [self._one(sample) for sample in samples]

    def _one(self, sample: Sample) -> Score:
        text = sample.answer
        if self.fenced and (block := FENCED.match(text)):
            text = block.group(1)
        try:
            if len(text) > MOST:
                raise ValueError("it is too long")
            value = json.loads(text, parse_constant=_refuse, object_pairs_hook=once)
        except (ValueError, RecursionError) as error:
            return Score(sample.id, 0.0, reason=f"not JSON: {str(error) or 'too deep'}"[:300])
        try:
            problem = next(self.checker.iter_errors(value), None)
        except Exception as error:  # a `$ref` to nowhere, a recursion without end: the schema's fault, not the answer's
            return Score(sample.id, None, reason=f"the schema cannot be applied: {str(error)[:200]}")
        return Score(sample.id, float(problem is None), reason=_said(problem))


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Exception]:
    """jsonschema's own, with a time limit: a pattern with nested repeats can run for years on forty characters."""
    from jsonschema import ValidationError

    if isinstance(value, str) and not regex.search(pattern, value, timeout=REGEX_SECONDS):
        yield ValidationError(f"{value!r:.100} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, _: Any) -> Iterator[Exception]:
    for pattern, schema in patterns.items() if isinstance(value, dict) else ():
        for key in value:
            if regex.search(pattern, key, timeout=REGEX_SECONDS):
                yield from validator.descend(value[key], schema, path=key, schema_path=pattern)


def _additional(validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Exception]:
    from jsonschema import ValidationError

    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for key in value if isinstance(value, dict) else ():
        if key in known or any(regex.search(pattern, key, timeout=REGEX_SECONDS) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"{key!r:.100} is no property of it")
        else:
            yield from validator.descend(value[key], allowed, path=key)


LIMITED = {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional}
"""Keywords that match what a model wrote."""


def _said(problem: Any) -> str:
    return "" if problem is None else f"{problem.json_path}: {problem.message}"[:300]


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _remote(value: Any) -> str:
    """A `$ref` that leaves the schema: following it would read a file or ask a server."""
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            return reference
        return next((found for one in value.values() if (found := _remote(one))), "")
    if isinstance(value, list):
        return next((found for one in value if (found := _remote(one))), "")
    return ""
