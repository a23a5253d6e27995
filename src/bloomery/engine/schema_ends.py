"""Whether a JSON schema has any value that ends: a recursion without a way out would be written for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

ROUNDS = 64
"""Ways out that lie behind so many further references are not looked for: such a schema counts as ending."""


def ends(schema: Any) -> bool:
    """False where every value of the schema holds another value of itself."""
    targets = {ref: _at(schema, ref) for ref in _refs(schema)}
    known = dict.fromkeys(targets, False)
    for _ in range(ROUNDS):
        found = {ref: known[ref] or _ends(target, known) for ref, target in targets.items()}
        if found == known:
            return _ends(schema, known)
        known = found
    return True


def _ends(schema: Any, known: Mapping[str, bool]) -> bool:
    """Whether a value ends, given which references lead to one that does."""
    if not isinstance(schema, dict):
        return True
    if not known.get(schema.get("$ref", ""), True):
        return False
    if not all(_ends(one, known) for one in _listed(schema, "allOf")):
        return False
    for key in ("anyOf", "oneOf"):
        if _listed(schema, key) and not any(_ends(one, known) for one in _listed(schema, key)):
            return False
    return all(_ends(one, known) for one in _needed(schema))


def _needed(schema: Mapping[str, Any]) -> list[Any]:
    """The schemas of values that every value of this one holds."""
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        return [schema["properties"].get(name) for name in _listed(schema, "required") if isinstance(name, str)]
    if schema.get("type") == "array" and isinstance(least := schema.get("minItems"), int):
        first = _listed(schema, "prefixItems")
        return [*first[:least], *([schema.get("items")] if least > len(first) else [])]
    return []


def _listed(schema: Mapping[str, Any], key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _refs(schema: Any) -> set[str]:
    """Every text under a key `$ref`, at any depth."""
    found: set[str] = set()
    opened = [schema]
    while opened:
        one = opened.pop()
        if isinstance(one, dict):
            found |= {one["$ref"]} if isinstance(one.get("$ref"), str) else set()
            opened += one.values()
        elif isinstance(one, list):
            opened += one
    return found


def _at(root: Any, ref: str) -> Any:
    """What a reference within the schema points to; None, which ends, for one that is not found here."""
    here = root
    for part in ref.split("/")[1:] if ref.startswith("#") else ["?"]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = here.get(name)
        elif isinstance(here, list) and name.isdecimal() and int(name[:9]) < len(here):
            here = here[int(name)]
        else:
            return None
    return here
