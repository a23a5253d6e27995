"""Labels that nobody gave: what votes, removals and reactions say, by a mapping that the user states.

The evidence for a label is its `prior` and every signal's count times its weight; its share of all evidence is the soft
label. A row is trained with one label, drawn with that chance by a hash of its id: over many rows the gradient is that
of the soft label, and a run can be repeated.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.data.readers import Record


def implied(record: Record, signals: Mapping[str, Any] | None) -> Record:
    """A row with signals as one with `prompt` and `response`; any other as it is.

    `signals` is a `Signals` as plain JSON, since a tokenizing process has no pydantic.
    Raises `InputError` for a row without its text, a signal that is no count, and one that says nothing at all.
    """
    if signals is None:
        return record
    fields, where = record.fields, record.where
    text = fields.get(signals["text"])
    if not isinstance(text, str):
        raise InputError(f"has no text in `{signals['text']}`", where=where, fix="change `signals.text`")
    soft = soft_label(fields, signals, where)
    named = next((fields[key] for key in ("id", "_id") if fields.get(key) is not None), None)
    label = drawn(soft, str(named) if named is not None else text)
    lead = "".join(f"{name}: {fields[name]}\n" for name in signals["context"] if fields.get(name) not in (None, ""))
    prompt = f"{lead}{text}\n{signals['ask']}" if signals["ask"] else lead + text
    made = {"prompt": prompt, "response": label}
    return Record(made if named is None else {"id": str(named), **made}, where)


def soft_label(fields: Mapping[str, Any], signals: Mapping[str, Any], where: Where) -> dict[str, float]:
    """Label -> its share of the evidence; they sum to 1."""
    found = dict(signals["prior"])
    for name, weights in signals["weights"].items():
        count = _count(_inside(fields, name), name, where)
        for label, weight in weights.items():
            found[label] += count * weight
    total = sum(found.values())
    if not total > 0:
        raise InputError(
            "its signals say nothing", where=where, fix="give `signals.prior` a number above 0, or set `bad_rows: skip`"
        )
    return {label: value / total for label, value in found.items()}


def drawn(soft: Mapping[str, float], name: str) -> str:
    """The label that a row of this name is trained with."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    for label, share in soft.items():
        if (place := place - share) < 0:
            return label
    return next(label for label in reversed(list(soft)) if soft[label] > 0)  # what rounding leaves


def _inside(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of `reactions.angry` inside one."""
    value: Any = fields
    for part in [name] if name in fields else name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _count(value: Any, name: str, where: Where) -> float:
    """A number, true and false as 1 and 0, nothing as 0."""
    if value is None or value == "":
        return 0.0
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"the signal `{name}` is no count: {str(value)[:40]}", where=where, fix="use numbers")
    return float(value)
