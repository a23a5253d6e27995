"""What pydantic finds wrong with a recipe, in our words: the key, why it cannot work, what to change."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from bloomery.core.errors import InputError, nearest
from bloomery.recipes.schema import UNBUILT, Recipe


def message_of(problem: Any, key: str) -> tuple[str, str | None]:
    """What is wrong with `key`, and what to do about it, of one of pydantic's problems."""
    kind, context = problem["type"], problem.get("ctx", {})
    if isinstance(context.get("error"), InputError):
        inner = context["error"]
        short = key.rsplit(".", 1)[-1]
        return inner.message.replace(f"`{short}:", f"`{key}:", 1), inner.fix
    if kind == "extra_forbidden":
        if key in UNBUILT:
            return f"`{key}` cannot be used: {UNBUILT[key]}", f"remove `{key}`"
        name = key.rsplit(".", 1)[-1]
        return f"there is no key `{key}`{nearest(name, _known_keys(problem['loc'][:-1]))}", f"rename or remove `{key}`"
    if kind == "literal_error":
        return f"`{key}: {problem['input']}` must be {context['expected']}", f"change `{key}`"
    if kind == "missing":
        return f"`{key}` is missing", f"add `{key}`"
    if isinstance(context.get("error"), ValueError):
        return f"`{key}`: {context['error']}", f"change `{key}`"
    return f"`{key}: {problem['input']}`: {problem['msg'][0].lower()}{problem['msg'][1:]}", f"change `{key}`"


def is_pydantic_part(part: Any) -> bool:
    """Parts of an error's location that name a type of a union, which no key of a recipe is called."""
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "literal"))


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """The keys that the section at `location` has."""
    section: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The model inside `Section`, `list[Section]` or `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_of(inner))), None)
