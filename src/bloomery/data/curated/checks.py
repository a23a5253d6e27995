"""Exact checkers of the curated tasks: does a response meet what its row's metadata asks for?

Rows carry `metadata.grader`: `exact` (equal to `reference_answer`), `number` (the last number in the
response is `metadata.number`) or `constraint` (one of `CONSTRAINTS` with its arguments).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bloomery.core.errors import InputError, nearest

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_WORD = re.compile(r"[\w'-]+")
_REFUSAL = re.compile(
    r"\b(?:can(?:no|')t|can not|won't|will not|do not|don't|not (?:able|going|willing) to|unable to|refuse to)\s+"
    r"(?:\w+\s+){0,2}?(?:help|assist|support|explain|tell|write|share|do that|do this|answer)",
    re.IGNORECASE,
)


def is_correct(response: str, reference: str, metadata: Mapping[str, Any]) -> bool:
    """Whether `response` answers a curated row. Raises `InputError` for a grader or constraint we do not know."""
    grader = metadata.get("grader", "exact")
    if grader == "exact":
        return response.strip() == reference.strip()
    if grader == "number":
        found = _NUMBER.findall(response)
        return bool(found) and float(found[-1].replace(",", "")) == float(metadata["number"])
    if grader == "constraint":
        return meets(response, metadata)
    raise InputError(f"`metadata.grader: {grader}` is not exact, number or constraint", fix="change the row's metadata")


def meets(response: str, metadata: Mapping[str, Any]) -> bool:
    """Whether a response has the form `metadata.constraint` names, and mentions `metadata.mentions` where given."""
    name = metadata["constraint"]
    if name not in CONSTRAINTS:
        raise InputError(f"`metadata.constraint: {name}` is no constraint{nearest(str(name), CONSTRAINTS)}")
    text = response.strip()
    mentions = str(metadata.get("mentions", "")).lower()
    return bool(text) and mentions in text.lower() and CONSTRAINTS[name](text, metadata)


def refuses(response: str) -> bool:
    """Whether a response declines: "I can't help with that", in any of the usual wordings."""
    return _REFUSAL.search(response.replace("’", "'")) is not None


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _starts(text: str, metadata: Mapping[str, Any]) -> bool:
    wanted = str(metadata["text"])
    rest = text[len(wanted) : len(wanted) + 1]
    return text.lower().startswith(wanted.lower()) and not rest.isalnum()


def _ends(text: str, metadata: Mapping[str, Any]) -> bool:
    wanted = str(metadata["text"]).lower()
    if wanted[-1].isalnum():
        words = _words(text.lower())
        return bool(words) and words[-1] == wanted
    return text.endswith(wanted)


CONSTRAINTS: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "uppercase": lambda text, _: text.upper() == text and text.lower() != text,
    "lowercase": lambda text, _: text.lower() == text and text.upper() != text,
    "words": lambda text, metadata: len(_words(text)) == int(metadata["count"]),
    "starts_with": _starts,
    "ends_with": _ends,
    "quoted": lambda text, _: len(text) > 2 and text[0] == text[-1] == '"',
    "contains": lambda text, metadata: str(metadata["text"]).lower() in _words(text.lower()),
    "refuses": lambda text, _: refuses(text),
    "answers": lambda text, _: not refuses(text),
}
"""Constraint -> check of a stripped, non-empty response against the row's metadata."""
