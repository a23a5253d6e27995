"""Rows that say what a policy should do: read from JSON lines, and run through a guard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where, nearest
from bloomery.graders.payload import text_of
from bloomery.serve.policy.decision import ACTIONS, RANK, Action, Decision
from bloomery.serve.policy.guard import PolicyGuard

KEYS = ("text", "messages", "side", "expect", "category", "id")
SIDES = ("input", "output")


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation, whose last message is judged, with what should become of it: `allow` for a safe one.

    `category` is the one that it tests: what a harmful row belongs to, what a safe row looks like.
    """

    messages: tuple[Mapping[str, Any], ...]
    expect: Action
    category: str
    where: Where

    @property
    def text(self) -> str:
        """The text of the last message."""
        return text_of(self.messages[-1])

    @property
    def harmful(self) -> bool:
        """Whether anything should become of it."""
        return self.expect != "allow"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row with what became of it."""

    row: Row
    decision: Decision

    @property
    def acted(self) -> bool:
        """For a harmful row: at least what was expected. For a safe row: anything but allow."""
        rank = RANK[self.decision.action]
        return rank >= RANK[self.row.expect] if self.row.harmful else rank > RANK["allow"]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file. Raises `InputError` with file and line for one that cannot be used, and for an empty file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=Where(path), fix="check the path") from None
    rows = [_row(line, Where(path, number)) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError("has no rows", where=Where(path), fix='write lines such as {"text": "...", "expect": "block"}')
    return rows


def run_rows(guard: PolicyGuard, rows: Iterable[Row]) -> list[Outcome]:
    """What the guard does with every row: answers are watched, everything else is checked as input."""
    return [Outcome(row, _decided(guard, row)) for row in rows]


def _decided(guard: PolicyGuard, row: Row) -> Decision:
    if row.messages[-1].get("role") != "assistant":
        return guard.check_input(row.messages)
    watch = guard.watch(row.messages[:-1])
    watch.feed(row.text)
    watch.finish()
    return watch.decision


def _row(line: str, where: Where) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise InputError(f"is no JSON: {told}", where=where, fix="write one object a line") from None
    if not isinstance(row, dict):
        raise InputError("is no object", where=where, fix='write {"text": "...", "expect": "block"}')
    for key in row:
        if key not in KEYS:
            raise InputError(
                f"a row has no key `{key}`{nearest(str(key), KEYS)}", where=where, fix="rename or remove it"
            )
    if row.get("expect") not in ACTIONS:
        said = f"`expect: {row.get('expect')}` is not {', '.join(ACTIONS)}"
        raise InputError(said, where=where, fix="say what should become of it; `allow` for a safe row")
    category = row.get("category", "")
    if not isinstance(category, str):
        raise InputError(f"`category: {category}` is no name", where=where, fix="write the category's name")
    return Row(_messages(row, where), row["expect"], category, where)


def _messages(row: Mapping[str, Any], where: Where) -> tuple[Mapping[str, Any], ...]:
    side, text, messages = row.get("side", "input"), row.get("text"), row.get("messages")
    if (text is None) == (messages is None):
        raise InputError("a row has either `text` or `messages`", where=where, fix="write one of them")
    if side not in SIDES or (messages is not None and "side" in row):
        raise InputError(f"`side: {side}` cannot be used", where=where, fix="input or output, for rows with `text`")
    if isinstance(text, str) and text.strip():
        return ({"role": "assistant" if side == "output" else "user", "content": text},)
    if isinstance(messages, list) and messages and all(_is_message(message) for message in messages):
        return tuple(messages)
    raise InputError("holds no text", where=where, fix="`text` is a string, `messages` a list of {role, content}")


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and isinstance(message.get("role"), str) and bool(text_of(message).strip())


def labelled(rows: Sequence[Row], category: str) -> tuple[list[str], list[bool], int]:
    """(texts, whether each belongs to the category, rows left out) for training.

    Harmful rows count where they name the category or none; those of other categories are left out, since nothing says
    that they do not belong to this one, too.
    """
    used = [row for row in rows if not row.harmful or row.category in ("", category)]
    return [row.text for row in used], [row.harmful for row in used], len(rows) - len(used)
