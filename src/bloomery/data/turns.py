"""Messages of a conversation in the forms people write them: role and content checked, names of roles made ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bloomery.core.errors import InputError, Where, nearest

Message = dict[str, Any]

TURNS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "function_call": "assistant"}
"""Names of turns in other conventions (ShareGPT) -> ours."""

MEDIA = frozenset({"image", "images", "image_url", "video", "videos", "audio", "audios", "pixel_values"})
"""Columns that hold what is no text."""

ROLES = ("system", "developer", "user", "assistant", "tool", "observation", "function")


def message(role: str, text: str) -> Message:
    """A message of plain text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def plain(content: list[dict[str, Any]]) -> str:
    """The text of a message's parts."""
    return "".join(part["text"] for part in content)


def flat(messages: Sequence[Message]) -> list[Message]:
    """Messages with the text of their parts as a string."""
    return [one | {"content": plain(one["content"])} for one in messages]


def turns(value: Any, where: Where, column: str) -> tuple[Message, ...]:
    """The messages of a column: a list, or JSON text of one.

    Raises `InputError` for anything else, an unknown role, a picture, or a message without content.
    """
    raw = parsed(value, where, column)
    if not isinstance(raw, list) or not raw:
        raise InputError(f"column `{column}` must hold a list of messages", where=where)
    return tuple(_turn(item, number, where) for number, item in enumerate(raw, 1))


def parsed(value: Any, where: Where, column: str) -> Any:
    """A value that may be written as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise InputError(f"column `{column}` holds a string that is not JSON", where=where) from None


def _turn(item: Any, number: int, where: Where) -> Message:
    if not isinstance(item, dict):
        raise InputError(f"message {number} must be an object with `role` and `content`", where=where)
    role = item.get("role", item.get("from"))
    role = TURNS.get(str(role), str(role))
    if role not in ROLES:
        raise InputError(f"message {number} has the unknown role `{role}`{nearest(role, ROLES)}", where=where)
    content = item.get("content", item.get("value"))
    if content is None and not item.get("tool_calls"):
        raise InputError(f"message {number} ({role}) has no `content`", where=where)
    if item.get("weight") not in (None, 0, 1):
        message = f"message {number} has the weight {item['weight']!r}: a turn is trained (1) or not (0)"
        raise InputError(message, where=where, fix="set `weight` to 0 or 1, or remove it")
    rest = {key: value for key, value in item.items() if key not in ("role", "from", "content", "value")}
    return {"role": role, "content": _parts(content, number, where)} | {k: v for k, v in rest.items() if v is not None}


def _parts(content: Any, number: int, where: Where) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else [{"type": "text", "text": "" if content is None else content}]
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise InputError(
                f"message {number} has a part of type `{kind}`: Bloomery trains on text only for now",
                where=where,
                fix="remove the part, or the row",
            )
        if not isinstance(part.get("text"), str):
            raise InputError(f"message {number} has a content that is not text", where=where)
    return [{"type": "text", "text": part["text"]} for part in parts]


def refuse_half(text: str, where: Where) -> None:
    """Raise `InputError` for a text that no file can hold: one with half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"holds half of a surrogate pair (U+{ord(text[error.start]):04X}), which is no text",
            where=where,
            fix="write the character itself, or both halves",
        ) from None


def refuse_half_in(fields: Mapping[str, Any], where: Where) -> None:
    """The same for every text of a row that will be written again."""
    refuse_half(json.dumps(fields, ensure_ascii=False, default=str), where)


def refuse_media(fields: Mapping[str, Any], where: Where) -> None:
    """Raise `InputError` for a row with a picture or a sound."""
    for name in sorted(MEDIA.intersection(fields)):
        if fields[name]:
            raise InputError(
                f"has a column `{name}`: Bloomery trains on text only for now",
                where=where,
                fix=f"remove the column `{name}`, or the row",
            )
