"""Quantities with units as people write them: "20M tokens", "30%", "2 epochs", "500 steps", "8 GB", "90 minutes"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bloomery.core.errors import InputError, nearest

_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"^\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z%]*)\s*([a-zA-Z]*)\s*$")
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}
UNITS = ("tokens", "steps", "epochs")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit; `unit` is one of `UNITS`."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{_short(self.value)} {self.unit}"


def parse_budget(text: str | int, key: str = "budget") -> Quantity:
    """'20M tokens', '2 epochs' or '500 steps'. Raises `InputError` for a bare number, naming the units."""
    match = _NUMBER.match(str(text))
    if not match:
        raise InputError(f"`{key}: {text}` is not a quantity", fix="write a number and a unit, such as `20M tokens`")
    number, first, second = match.groups()
    scale, unit = (first, second) if second else ("", first)
    unit = unit.lower() if unit.lower().endswith("s") else unit.lower() + "s"
    if unit == "s" or unit not in UNITS:
        hint = "" if unit == "s" else nearest(unit, UNITS)
        raise InputError(f"`{key}: {text}` has no unit we know{hint}", fix=f"use one of {', '.join(UNITS)}")
    if scale.lower() not in _SCALES:
        raise InputError(f"`{key}: {text}`: unknown scale `{scale}`", fix="use k, M, B or T")
    value = float(number.replace(",", "").replace("_", "")) * _SCALES[scale.lower()]
    if value <= 0:
        raise InputError(f"`{key}: {text}` must be above zero")
    return Quantity(value, unit)


def parse_tokens(text: str | int, key: str = "tokens") -> int:
    """'50M tokens', '50M' or 50000000 as a whole number of tokens. Raises `InputError` for another unit."""
    raw = str(text).strip()
    amount = parse_budget(raw if raw.lower().endswith(tuple(UNITS)) else f"{raw} tokens", key)
    if amount.unit != "tokens":
        raise InputError(f"`{key}: {text}` is in {amount.unit}", fix="write tokens, such as `50M tokens`")
    return round(amount.value)


def parse_share(text: str | float | int, key: str = "share") -> float:
    """'30%' or 0.3 as a fraction in [0, 1]. A bare number above 1 is refused: it could mean percent or a mistake."""
    raw = str(text).strip()
    try:
        value = float(raw[:-1]) / 100 if raw.endswith("%") else float(raw)
    except ValueError:
        raise InputError(f"`{key}: {text}` is not a share", fix="write `30%` or `0.3`") from None
    if not 0 <= value <= 1:
        hint = f"`{raw}%`" if 1 < value <= 100 and not raw.endswith("%") else "a share between 0% and 100%"
        raise InputError(f"`{key}: {text}` is outside 0 to 100 %", fix=f"write {hint}")
    return value


def parse_bytes(text: str | int, key: str = "memory") -> int:
    """'8 GB' (decimal) or '8 GiB' (binary) as bytes. Raises `InputError` naming the units it knows."""
    match = _NUMBER.match(str(text))
    unit = match.group(2).lower() if match else ""
    if not match or match.group(3) or unit not in _BYTES:
        raise InputError(f"`{key}: {text}` is not a size", fix=f"write a number and one of {', '.join(_BYTES)}")
    return int(float(match.group(1).replace(",", "").replace("_", "")) * _BYTES[unit])


def _short(value: float) -> str:
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{letter}"
    return f"{value:g}"
