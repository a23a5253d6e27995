"""JSON schemas as llguidance can hold an answer to them: what it would get wrong is tightened, or refused by keyword.

Every rule here stands for an answer that llguidance 1.9 let through and that the schema does not allow. A tightened
schema allows less than the given one, never more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from bloomery.engine.protocol import UnusableGrammar
from bloomery.engine.schema_ends import ends

OPTIONS = {
    # Without white space: a model unsure of the next key could otherwise write blanks until its tokens end.
    "whitespace_flexible": False,
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,
    "coerce_one_of": False,
    # Without \\u: `{"\\u0061": "x"}` would be a free key beside a declared `a`.
    "json_allowed_escapes": 'nrbtf\\"',
}
"""What llguidance's compiler is told, whatever a schema says under `x-guidance`."""

DIGITS, EXPONENT, SAFE = 15, 22, 2**53
"""Numbers that llguidance reads exactly: it parses decimals to a unit of the last place, and prints 15 digits."""
MAPS = ("properties", "patternProperties", "$defs", "definitions")
LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "additionalItems")
LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")

_YEAR = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DAY = f"^({_YEAR}-(0[13-9]|1[0-2])-[0-9]{{2}}|{_YEAR}-02-([01][0-9]|2[0-8])|{_LEAP}-02-29)"
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "date": {"pattern": _DAY},  # else 2023-02-29, and the year 0, which most programs do not know
    "date-time": {"pattern": f"{_DAY}[Tt ][0-9]{{2}}:[0-9]{{2}}:[0-5]"},  # else second 60 of any minute
    "time": {"pattern": "^[0-9]{2}:[0-9]{2}:[0-5]"},
    "hostname": {"maxLength": 253},
}
"""What is added to a format."""
LINES = {"pattern": "^[^\\r\\u0085\\u2028\\u2029\\ufeff]*$"}
"""Characters about which `.` and `\\s` of ECMA's regular expressions and of llguidance's disagree."""


def held(text: str) -> str:
    """The schema `text` so that all that llguidance lets through satisfies it.

    Raises `UnusableGrammar`, naming keyword and place, for what cannot be held to.
    """
    schema = json.loads(text)
    if not ends(schema):
        raise _refused("$ref", "#", "no value of it ever ends", "give the recursion a way out: `anyOf` with null")
    return json.dumps(_held(schema, "#"))


def children(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, schema) of the schemas that stand directly in a schema."""
    for key in MAPS:
        if isinstance(schema.get(key), dict):
            yield from (((key, name), one) for name, one in schema[key].items())
    for key in LISTS:
        if isinstance(schema.get(key), list):
            yield from (((key, str(number)), one) for number, one in enumerate(schema[key]))
    yield from (((key,), schema[key]) for key in SINGLE if isinstance(schema.get(key), dict | bool))


def rebased(schema: Any, root: str) -> Any:
    """The schema with its own `$ref`s pointing below `root`, where it will stand in another one."""
    if not isinstance(schema, dict):
        return schema
    new = dict(schema)
    for path, child in children(schema):
        _put(new, path, rebased(child, root))
    if isinstance(ref := schema.get("$ref"), str) and (ref == "#" or ref.startswith("#/")):
        new["$ref"] = root + ref[1:]
    return new


def _held(schema: Any, at: str) -> Any:
    if not isinstance(schema, dict):
        return schema
    _check_numbers(schema, at)
    _check_texts(schema, at)
    _check_counts(schema, at)
    new = {key: value for key, value in schema.items() if key != "x-guidance"}
    for path, child in children(schema):
        _put(new, path, _held(child, "/".join((at, *path))))
    _shut(new)
    added = [dict(FORMATS[schema["format"]])] if schema.get("format") in FORMATS else []
    if isinstance(pattern := schema.get("pattern"), str):
        added += [LINES] if _loose(pattern, at) else []
    if added:
        new["allOf"] = [*new.get("allOf", ()), *added]
    return new


def _put(new: dict[str, Any], path: tuple[str, ...], child: Any) -> None:
    """Set a child in a copy whose containers are still those of the original."""
    key, *rest = path
    if not rest:
        new[key] = child
    elif isinstance(new[key], dict):
        new[key] = {**new[key], rest[0]: child}
    else:
        place = int(rest[0])
        new[key] = [*new[key][:place], child, *new[key][place + 1 :]]


def _shut(new: dict[str, Any]) -> None:
    """Bounds that a number may not reach, as ones that it may: 0.99999999999999999 is 1 to every program."""
    if new.get("type") == "integer":
        return
    for (plain, exclusive), sign in ((LOWER, 1), (UPPER, -1)):
        bound = new.get(exclusive)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            del new[exclusive]
            exact = Decimal(repr(bound))
            near = float(exact + sign * Decimal(1).scaleb((exact.adjusted() if exact else 0) - 11))
            new[plain] = near if plain not in new else (max if sign > 0 else min)(near, new[plain])


def _check_numbers(schema: Mapping[str, Any], at: str) -> None:
    for key in (*LOWER, *UPPER, "multipleOf"):
        if key in schema and not _exact(schema[key], whole=schema.get("type") == "integer"):
            raise _refused(key, at, f"{schema[key]} has more digits than are kept to", f"use {DIGITS} digits")
    for key in ("const", "enum"):
        for value in _leaves(schema.get(key)):
            if not _exact(value, whole=True):
                raise _refused(key, at, f"{value} has more digits than are kept to", "give it as a string")


def _exact(value: Any, whole: bool) -> bool:
    """Whether llguidance reads a number as it is (anything else is none of its numbers); `whole`: integers are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if whole and isinstance(value, int):
        return abs(value) < SAFE
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    return isinstance(exponent, int) and len(digits) <= DIGITS and abs(exponent) <= EXPONENT


def _check_texts(schema: Mapping[str, Any], at: str) -> None:
    """Raise for control characters that would have to be written with `\\u`."""
    for key in ("const", "enum", "required", "properties"):
        for value in _leaves(list(schema[key]) if key == "properties" and key in schema else schema.get(key)):
            if isinstance(value, str) and any((c < " " and c not in "\b\t\n\f\r") or c == "\x7f" for c in value):
                raise _refused(key, at, f"{value!r} holds a control character", "leave it out")


def _leaves(value: Any) -> Iterator[Any]:
    """Numbers and texts in a value, keys too."""
    opened = [value]
    while opened:
        one = opened.pop()
        if isinstance(one, dict):
            opened += [*one, *one.values()]
        elif isinstance(one, list):
            opened += one
        else:
            yield one


def _check_counts(schema: Mapping[str, Any], at: str) -> None:
    """Raise where keys written twice would count twice."""
    least = schema.get("minProperties", 0)
    if least > 1 and (schema.get("additionalProperties") is not False or schema.get("patternProperties")):
        raise _refused("minProperties", at, "free keys may be written twice", "list `properties` and close the object")


def _loose(pattern: str, at: str) -> bool:
    """Whether a pattern has `.` or `\\s`. Raises for what is read in two ways: sets within a character class."""
    inside = loose = False
    place = 0
    while place < len(pattern):
        two = pattern[place : place + 2]
        if two[0] == "\\":
            loose = loose or two == "\\s"
            place += 2
            continue
        if inside and (two[0] == "[" or two in ("&&", "--", "~~")):
            raise _refused("pattern", at, f"`{two}` within `[...]` is read in two ways", f"write `\\{two[0]}`")
        loose = loose or (two[0] == "." and not inside)
        inside = two[0] == "[" or (inside and two[0] != "]")
        place += 1
    return loose


def _refused(keyword: str, at: str, why: str, fix: str) -> UnusableGrammar:
    return UnusableGrammar(f"the json schema cannot be used: `{keyword}` at {at}: {why}", fix=fix)
