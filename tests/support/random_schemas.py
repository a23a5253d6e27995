"""Random JSON schemas of every keyword that answers can be held to, whose answers are short; and two validators."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time
from typing import Any

import jsonschema
import jsonschema_rs
import numpy as np

from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Grammar, Request, Sampling, UnusableGrammar

Schema = dict[str, Any]
FORMATS = ("date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6", "hostname", "email", "uri")
PATTERNS = (
    "^[A-Z]{3}-[0-9]{2,4}$", "^(alpha|beta|gamma)(-[a-z]{1,4})?$", "^\\d{3}\\s\\w{2}$", "^.{2,6}$", "[a-c]x?$",
    "^\\+?[1-9][0-9]{4,9}$", "^#(?:[0-9a-f]{3}){1,2}$", "^v\\d+\\.\\d+$", "^[^aeiou]{1,5}$",
)  # fmt: skip
NAMES = ("id", "name", "größe", 'say "so"', "a/b~c", "x y", "$ref", "type", "k\n1", "pattern")
VALUES = ("red", 7, None, 'a"b', 1.5, True, [1, "x"], {"k": None}, "ünï", "tab\t", -0.25, 9007199254740991)


class Maker:
    """Draws schemas; `depth` is what may still be nested."""

    def __init__(self, draw: np.random.Generator) -> None:
        self.draw, self.defs = draw, dict[str, Schema]()

    def root(self) -> Schema:
        """A schema with the definitions that it refers to."""
        schema = self.schema(3)
        return schema | {"$defs": self.defs} if self.defs else schema

    def schema(self, depth: int) -> Schema:
        kinds = [self.integer, self.number, self.string, self.text, self.enum, self.const, self.plain]
        if depth:
            kinds += [self.object, self.object, self.open, self.array, self.tuple, self.any, self.one, self.all]
            kinds += [self.ref, self.chain, self.tree, self.typed]
        return self.pick(kinds)(depth - 1)

    def pick(self, items: Any) -> Any:
        return items[int(self.draw.integers(len(items)))]

    def below(self, most: int) -> int:
        return int(self.draw.integers(most))

    def plain(self, depth: int) -> Schema:
        return {"type": self.pick(["boolean", "null", ["boolean", "null"]])}

    def integer(self, depth: int) -> Schema:
        low = self.below(200) - 100
        bounds: Schema = {self.pick(["minimum", "exclusiveMinimum"]): low}
        bounds[self.pick(["maximum", "exclusiveMaximum"])] = low + 10 + self.below(1000)
        return {"type": "integer"} | bounds | ({"multipleOf": 1 + self.below(5)} if self.below(3) == 0 else {})

    def number(self, depth: int) -> Schema:
        low = (self.below(800) - 400) / 8
        bounds: Schema = {self.pick(["minimum", "exclusiveMinimum"]): low}
        bounds[self.pick(["maximum", "exclusiveMaximum"])] = low + (1 + self.below(80)) / 8
        return {"type": "number"} | bounds | ({"multipleOf": 0.125} if self.below(2) else {})

    def string(self, depth: int) -> Schema:
        return {"type": "string", "minLength": self.below(4), "maxLength": 4 + self.below(9)}

    def text(self, depth: int) -> Schema:
        if self.below(2):
            return {"type": "string", "pattern": self.pick(PATTERNS), "maxLength": 24}
        form = self.pick(FORMATS)
        return {"type": "string", "format": form} | ({"maxLength": 30} if form in ("email", "uri", "hostname") else {})

    def enum(self, depth: int) -> Schema:
        chosen = self.draw.permutation(len(VALUES))[: 1 + self.below(4)]
        return {"enum": [VALUES[i] for i in chosen]}

    def const(self, depth: int) -> Schema:
        return {"const": self.pick(VALUES)}

    def properties(self, depth: int) -> dict[str, Schema]:
        chosen = self.draw.permutation(len(NAMES))[: 1 + self.below(4)]
        return {NAMES[i]: self.schema(depth) for i in chosen}

    def object(self, depth: int) -> Schema:
        properties = self.properties(depth)
        need = [name for name in properties if self.below(3)]
        return {"type": "object", "properties": properties, "required": need, "additionalProperties": False}

    def open(self, depth: int) -> Schema:
        """Keys that are not named: of a pattern, of a type, or any."""
        if self.below(2):
            found = {"patternProperties": {"^[a-z]{2}$": self.schema(0)}, "additionalProperties": False}
        else:
            found = {"properties": self.properties(0), "additionalProperties": self.pick([{"type": "boolean"}, True])}
        return {"type": "object"} | found

    def array(self, depth: int) -> Schema:
        least = self.below(3)
        return {"type": "array", "items": self.schema(depth), "minItems": least, "maxItems": least + 1 + self.below(2)}

    def tuple(self, depth: int) -> Schema:
        first = [self.schema(depth) for _ in range(1 + self.below(2))]
        return {"type": "array", "prefixItems": first, "items": False, "minItems": self.below(len(first) + 1)}

    def any(self, depth: int) -> Schema:
        return {"anyOf": [self.schema(depth) for _ in range(2 + self.below(2))]}

    def one(self, depth: int) -> Schema:
        """Branches that are plainly apart."""
        return {
            "oneOf": [self.integer(depth), self.string(depth), self.array(depth), {"type": "null"}][self.below(2) :]
        }

    def all(self, depth: int) -> Schema:
        parts = [self.properties(0) for _ in range(2)]
        shared = {name: schema for part in parts for name, schema in part.items()}
        split = list(shared)[: 1 + self.below(len(shared))]
        both = [{"properties": {n: shared[n] for n in names}, "required": names} for names in (split, split[:1])]
        return {"type": "object", "allOf": both, "maxProperties": len(split)} if not self.below(9) else self.meet()

    def meet(self) -> Schema:
        return {"allOf": [self.integer(0), {"minimum": -50}, {"maximum": 5000}]} | {"type": "integer"}

    def ref(self, depth: int) -> Schema:
        name = f"d{len(self.defs)}"
        self.defs[name] = {}
        self.defs[name] = self.schema(depth)
        return {"$ref": f"#/$defs/{name}"}

    def chain(self, depth: int) -> Schema:
        """A list by links: recursive, with a way out."""
        name = f"d{len(self.defs)}"
        link = {"anyOf": [{"type": "null"}, {"const": "end"}, {"type": "boolean"}, {"$ref": f"#/$defs/{name}"}]}
        need = ["value", "next"]
        properties = {"value": self.schema(0), "next": link}
        self.defs[name] = {"type": "object", "properties": properties, "required": need, "additionalProperties": False}
        return {"$ref": f"#/$defs/{name}"}

    def tree(self, depth: int) -> Schema:
        name = f"d{len(self.defs)}"
        children = {"type": "array", "items": {"$ref": f"#/$defs/{name}"}, "maxItems": 2}
        properties = {"at": self.integer(0), "children": children}
        self.defs[name] = {
            "type": "object", "properties": properties, "required": ["at"], "additionalProperties": False
        }  # fmt: skip
        return {"$ref": f"#/$defs/{name}"}

    def typed(self, depth: int) -> Schema:
        return self.string(depth) | self.integer(depth) | {"type": ["string", "integer", "null"]}


def random_schemas(seed: int, count: int) -> list[Schema]:
    """So many, no two alike."""
    draw, found = np.random.default_rng(seed), dict[str, Schema]()
    while len(found) < count:
        schema = Maker(draw).root()
        found[json.dumps(schema)] = schema
    return list(found.values())


CHECKER = jsonschema.FormatChecker(formats=["ipv4", "ipv6"])


@CHECKER.checks("date", raises=ValueError)
def _date(value: Any) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value) and re.fullmatch(r"\d{4}-\d\d-\d\d", value))


@CHECKER.checks("time", raises=ValueError)
def _time(value: Any) -> bool:
    return not isinstance(value, str) or time.fromisoformat(_cut(value)).tzinfo is not None


@CHECKER.checks("date-time", raises=ValueError)
def _instant(value: Any) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(_cut(value)).tzinfo is not None


@CHECKER.checks("duration")
def _duration(value: Any) -> bool:
    form = r"P(\d+W|(?=.)((\d+Y)?(\d+M)?(\d+D)?)(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)"
    return not isinstance(value, str) or re.fullmatch(form, value) is not None


@CHECKER.checks("uuid")
def _uuid(value: Any) -> bool:
    return (
        not isinstance(value, str)
        or re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value) is not None
    )


@CHECKER.checks("hostname")
def _hostname(value: Any) -> bool:
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    return not isinstance(value, str) or (re.fullmatch(rf"{label}(\.{label})*", value) is not None and len(value) < 254)


@CHECKER.checks("email")
def _email(value: Any) -> bool:
    return not isinstance(value, str) or re.fullmatch(r"[^@\s]+@[^@\s]+", value) is not None


def _cut(value: str) -> str:
    """Fractions of a second to what Python reads."""
    return re.sub(r"(\.\d{1,6})\d*", r"\1", value.upper().replace(" ", "T"))


def problem(text: str, schema: Schema) -> str:
    """What is wrong with an answer, by either validator; empty for nothing."""
    try:
        value = json.loads(text)
        jsonschema.Draft202012Validator(schema, format_checker=CHECKER).validate(value)
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)
    except (ValueError, jsonschema.ValidationError, jsonschema_rs.ValidationError) as error:
        return str(error).splitlines()[0]
    return ""


def answered(engine: NativeEngine, schemas: list[Schema], tokens: int) -> tuple[dict[int, Answer], dict[int, str]]:
    """(answers of at most so many tokens at temperature 1, refusals) by number, many at once."""
    scheduler = engine.scheduler()
    answers: dict[int, Answer] = {}
    refused: dict[int, str] = {}
    for number, schema in enumerate(schemas):
        grammar = Grammar("json_schema", json.dumps(schema))
        request = Request([3, 4, 5 + number], Sampling(tokens, temperature=1.0, seed=number, grammar=grammar))
        one = Answer()
        try:
            scheduler.waiting.append(engine.accept(request, one.take, scheduler.backend.fits))
            answers[number] = one
        except UnusableGrammar as error:
            refused[number] = error.message
    while scheduler.busy:
        scheduler.step()
    return answers, refused


def text_of(engine: NativeEngine, one: Answer) -> str:
    body = one.ids[:-1] if one.stopped else one.ids
    return str(engine.tokenizer.decode(body, skip_special_tokens=True))
