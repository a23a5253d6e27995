"""Whether a recipe set a key: the origin of values that the schema has a default for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Value


def as_set(loaded: Loaded, key: str, value: Any) -> Value:
    """A value that the schema already has a default for."""
    return Value(value, "user" if given(loaded.data, key) else "stage default")


def or_default(loaded: Loaded, key: str, value: Any, default: Any, why: str) -> Value:
    """The user's value where the recipe sets the key, else `default` with its reason."""
    return Value(value, "user") if given(loaded.data, key) else Value(default, "stage default", why)


def given(data: Any, key: str) -> bool:
    """Whether a dotted key stands in the recipe, whatever its value."""
    for part in key.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True
