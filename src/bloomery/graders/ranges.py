"""Ranges of scores, as `range:` and `scale:` state them."""

from __future__ import annotations

import math
from typing import Any

from bloomery.core.errors import InputError


def check_range(given: Any, key: str = "range") -> tuple[float, float]:
    """The lowest and the highest score. Raises `InputError` for what is no range."""
    whole = isinstance(given, list | tuple) and len(given) == 2
    if not whole or not all(type(end) in (int, float) and math.isfinite(end) for end in given) or given[0] >= given[1]:
        raise InputError(f"`{key}: {given}` is no range", fix="write its lowest and highest score, such as `[2, 10]`")
    return float(given[0]), float(given[1])
