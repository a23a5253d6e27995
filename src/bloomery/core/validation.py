"""What pydantic finds wrong with a file of ours, in our words: the key, why it cannot work, what to change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from bloomery.core.errors import InputError, Where, nearest

Checked = TypeVar("Checked", bound=BaseModel)


def checked(
    model: type[Checked],
    data: Any,
    place: Callable[[str], Where | None],
    *,
    prefix: str = "",
) -> Checked:
    """`model.model_validate(data)`, whose first problem becomes an `InputError` that says how many more there are.

    `place` gives file and line of a dotted key, or of a message that is about no single one; `prefix` is the dotted key
    that `data` stands under.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        key = ".".join([prefix] * bool(prefix) + [str(part) for part in problems[0]["loc"] if not _is_type(part)])
        message, fix = _said(model, problems[0], key)
        more = f" ({len(problems) - 1} more after it)" if len(problems) > 1 else ""
        raise InputError(message + more, where=place(key or message), fix=fix) from None


def place_in(where: Mapping[str, int], path: Path) -> Callable[[str], Where | None]:
    """`place` of `checked` for the keys of one file: the line of a key, or of the nearest section around it."""

    def place(key: str) -> Where:
        parts = key.split(".")
        around = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return Where(path, next((where[known] for known in around if known in where), 1))

    return place


def keys_in(message: str) -> list[str]:
    """The dotted keys that a message about a whole file names in backquotes."""
    return re.findall(r"`([\w.]+)", message)


def _said(model: type[BaseModel], problem: Any, key: str) -> tuple[str, str | None]:
    """What is wrong with `key`, and what to do about it."""
    kind, context = problem["type"], problem.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InputError):
        short = key.rsplit(".", 1)[-1]
        return cause.message.replace(f"`{short}:", f"`{key}:", 1), cause.fix
    if kind == "extra_forbidden":
        name = key.rsplit(".", 1)[-1]
        known = _known_keys(model, problem["loc"][:-1])
        return f"there is no key `{key}`{nearest(name, known)}", f"rename or remove `{key}`"
    if kind == "literal_error":
        return f"`{key}: {problem['input']}` must be {context['expected']}", f"change `{key}`"
    if kind == "missing":
        return f"`{key}` is missing", f"add `{key}`"
    if isinstance(cause, ValueError):
        return f"`{key}`: {cause}", f"change `{key}`"
    if not key:
        return "the file has no keys", "write `key: value` lines"
    return f"`{key}: {problem['input']}`: {problem['msg'][0].lower()}{problem['msg'][1:]}", f"change `{key}`"


def _is_type(part: Any) -> bool:
    """Parts of an error's location that name a type of a union, which no key of ours is called."""
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "literal"))


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys that the section at `location` has."""
    section = model
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The model inside `Section`, `list[Section]` or `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_of(inner))), None)
