"""What a reward endpoint may answer, by `format`, and nothing else: no value is guessed, rounded or coerced."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.graders.function import metrics_of
from bloomery.graders.payload import Metric, number_or_reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """One item's score, or why there is none, and whether asking again may help."""

    score: float | None
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    again: bool = False
    wait: float | None = None
    """Seconds that the server asked for before the next try."""


class Invalid(Exception):
    """The reply as a whole cannot be matched to what was asked."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a key that stands twice: which of two scores is meant?"""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def read(body: bytes) -> Any:
    """A reply's JSON. Raises `Invalid`, for a key that stands twice as well."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the reply is not JSON: {str(error)[:100] or 'too deep'}") from None


def nova(value: Any, ids: Sequence[str]) -> list[Verdict]:
    """`[{id, aggregate_reward_score, metrics_list?}]`, or `{id, error: {code, retryable}}`, in any order."""
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise Invalid(f"the reply is {_kind(value)}, not a list of objects")
    if len(value) != len(ids):
        raise Invalid(f"the reply has {len(value)} items for {len(ids)}")
    rows = {row.get("id"): row for row in value if isinstance(row.get("id"), str)}
    if set(rows) != set(ids):
        raise Invalid("the reply's ids are not those that were asked")
    return [_item(rows[one]) for one in ids]


def rewards(value: Any, ids: Sequence[str]) -> list[Verdict]:
    """OpenRLHF's `{"rewards": [numbers]}`, in the order asked."""
    listed = value.get("rewards") if isinstance(value, Mapping) else None
    if not isinstance(listed, list):
        raise Invalid(f"the reply is {_kind(value)} without a list `rewards`")
    if len(listed) != len(ids):
        raise Invalid(f"the reply has {len(listed)} rewards for {len(ids)}")
    return [Verdict(*number_or_reason(one)) for one in listed]


def number(value: Any, ids: Sequence[str]) -> list[Verdict]:
    """slime's bare number, for one item a request."""
    return [Verdict(*number_or_reason(value))]


def openai(value: Any, ids: Sequence[str]) -> list[Verdict]:
    """OpenAI's `{"reward": number, "sub_rewards": {name: number}}`, for one item a request."""
    if not isinstance(value, Mapping) or "reward" not in value:
        raise Invalid(f"the reply is {_kind(value)} without `reward`")
    parts = value.get("sub_rewards")
    listed = [{"name": name, "value": part} for name, part in parts.items()] if isinstance(parts, Mapping) else []
    errors = (value.get("metadata") or {}).get("errors") if isinstance(value.get("metadata"), Mapping) else None
    if isinstance(errors, Mapping) and any(flag is True for flag in errors.values()):
        named = ", ".join(sorted(str(name) for name, flag in errors.items() if flag is True))
        return [Verdict(None, f"the endpoint reports {named}"[:300])]
    return [Verdict(*number_or_reason(value["reward"]), metrics_of(listed))]


FORMATS: dict[str, Callable[[Any, Sequence[str]], list[Verdict]]] = {
    "nova": nova,
    "rewards": rewards,
    "number": number,
    "openai": openai,
}
SINGLE = ("number", "openai")
"""Formats that answer for one item a request."""


def _item(row: Mapping[str, Any]) -> Verdict:
    error = row.get("error")
    if error is not None:
        code = error.get("code") if isinstance(error, Mapping) else error
        again = isinstance(error, Mapping) and error.get("retryable") is True
        return Verdict(None, f"the endpoint reports {code!s:.100}", again=again)
    score, reason = number_or_reason(row.get("aggregate_reward_score"))
    return Verdict(score, reason, metrics_of(row.get("metrics_list")))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
