"""Graders inside graders: what is checked or changed in one holds for all that a `multi` is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]


def walk(spec: Spec, key: str = "") -> Iterator[tuple[str, Spec]]:
    """A grader's spec and every one inside it, each with its key: none, `graders.right`, `graders.all.graders.0`."""
    yield key, spec
    for name, part in _parts(spec):
        yield from walk(part, f"{key}.graders.{name}".lstrip("."))


def mapped(spec: Spec, change: Callable[[Spec], dict[str, Any]]) -> dict[str, Any]:
    """The spec as `change` makes it, with every grader inside it changed as well."""
    inner = {name: mapped(part, change) for name, part in _parts(spec)}
    if not inner:
        return change(spec)
    listed = spec["graders"]
    whole = (
        {name: inner.get(name, part) for name, part in listed.items()}
        if isinstance(listed, Mapping)
        else [inner.get(place, part) for place, part in enumerate(listed)]
    )
    return change({**spec, "graders": whole})


def _parts(spec: Spec) -> Iterator[tuple[Any, Spec]]:
    """(name or place, spec) of what is under `graders`; what is no grader there is for `load_grader` to refuse."""
    listed = spec.get("graders") if spec.get("type") == "multi" else None
    named = listed.items() if isinstance(listed, Mapping) else enumerate(listed) if isinstance(listed, list) else ()
    yield from ((name, part) for name, part in named if isinstance(part, Mapping))
