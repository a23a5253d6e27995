"""What a row is: finds the columns by name and turns a raw row into an Example.

The columns are settled once per source, on its first row, and shown; a later row without them is
refused by file and line, so a mixed file cannot lose rows silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bloomery.core.calls import spelled_out
from bloomery.core.errors import InputError, Where, nearest
from bloomery.data.candidates import unfolded
from bloomery.data.implicit import implied
from bloomery.data.preferences import desirable, is_label, judged, preferred
from bloomery.data.readers import Record
from bloomery.data.turns import Message, flat, message, parsed, plain, refuse_half, refuse_media, turns

if TYPE_CHECKING:  # a tokenizing process needs no pydantic
    from bloomery.data.config import SourceSpec

NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "instruction": ("instruction",),
    "output": ("output", "response", "completion", "answer"),
    "input": ("input", "context"),
    "prompt": ("prompt", "question", "query"),
    "response": ("response", "completion", "answer", "output"),
    "context": ("context",),
    "system": ("system", "system_prompt"),
    "text": ("text", "content", "document", "body", "passage", "markdown"),
    "tools": ("tools",),
    "id": ("id", "example_id", "_id"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "completion": ("completion",),
    "label": ("label",),
    "group": (),
}
"""Role -> column names it is guessed from, best first."""

NEEDED: dict[str, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "judged": ("prompt", "completion", "label"),
    "messages": ("messages",),
    "instruction": ("instruction", "output"),
    "prompt": ("prompt", "response"),
    "text": ("text",),
    "task": ("prompt",),
}
"""Shape -> roles it cannot do without, in the order in which shapes are tried."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "preference": ("prompt", "system", "tools", "id"),
    "judged": ("system", "tools", "id"),
    "messages": ("system", "tools", "id", "group"),
    "instruction": ("input", "system", "id", "group"),
    "prompt": ("context", "system", "id", "group"),
    "text": ("id",),
    "task": ("context", "system", "tools", "id", "group"),
}

PREFERENCES = ("preference", "judged")
"""Shapes whose rows say what is better, or whether something is good."""

GUESSED = " (guessed)"


@dataclass(frozen=True, slots=True)
class Columns:
    """The shape of a source and the column each role is read from; `guessed` names those nobody stated.

    With `as_text` conversations are rendered as plain text, so that the source is one of text.
    """

    shape: str
    by_role: Mapping[str, str]
    guessed: tuple[str, ...]
    as_text: bool = False
    signals: Mapping[str, Any] | None = None

    @property
    def trained_as(self) -> str:
        """The shape that training sees."""
        return "text" if self.as_text else self.shape

    def __str__(self) -> str:
        how = {role: GUESSED if role in self.guessed else "" for role in self.by_role}
        return f"{self.trained_as}: " + ", ".join(f"{role} <- {name}{how[role]}" for role, name in self.by_role.items())


@dataclass(frozen=True, slots=True)
class Example:
    """One row, ready to render: `text`, or `messages` whose content is a list of parts.

    `pair` says that the messages come from a prompt and a response, which a model without a chat template can still be
    trained on as plain text. `rejected` is a second conversation, the one that should not be: of two answers the worse,
    or an answer that was judged bad, which then has no `messages` beside it. The first `prompt` messages of either are
    not trained. With `as_text` they are rendered as plain text. Neighbouring rows of one `group` are drawn together.
    """

    example_id: str
    where: Where
    text: str | None = None
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[Any, ...] = ()
    pair: bool = False
    rejected: tuple[dict[str, Any], ...] = ()
    prompt: int = 0
    as_text: bool = False
    group: str = ""

    @property
    def spoken(self) -> tuple[dict[str, Any], ...]:
        """Every message of the row, those of both conversations."""
        return self.messages + self.rejected

    @property
    def plain_text(self) -> str:
        """What the messages say, one after the other, without who says it."""
        return "\n\n".join(str(m["content"]) for m in spelled_out(flat(self.messages), self.tools)[0])


def guess(name: str, columns: str) -> str:
    """A line that names the columns of a source, as `str(Columns)` has them; empty where the user named them all."""
    line = f"columns of {name}: {columns.partition(': ')[2]}" if GUESSED in columns else ""
    return "".join(c if c.isprintable() else "\ufffd" for c in line)  # a column's name must not steer the terminal


def detect(first: Record, spec: SourceSpec) -> Columns:
    """Settle shape and columns of a source on its first row.

    Raises `InputError` for an unknown role in `columns`, a named column that is not there, and a row
    that fits no shape.
    """
    signals = spec.signals.model_dump() if spec.signals else None
    first = implied(unfolded(first), signals)
    _check_named(first, spec)
    shapes = NEEDED if spec.shape == "auto" else {spec.shape: NEEDED[spec.shape]}
    missing: dict[str, list[str]] = {}
    for shape, needed in shapes.items():
        found = {role: _column(role, first.fields, spec) for role in (*needed, *OPTIONAL[shape])}
        missing[shape] = [role for role in needed if found[role] is None]
        if shape == "judged" and spec.shape == "auto" and is_label(first.fields.get(found["label"] or "")) is None:
            continue  # a label of another kind, such as the row's topic
        if not missing[shape]:
            asks = shape == "messages" and spec.shape == "auto" and not spec.as_text and _only_asks(first, found)
            return _found("task" if asks else shape, found, spec, signals)
    have = ", ".join(first.fields) or "none"
    missing = dict(sorted((m for m in missing.items() if m[1]), key=lambda m: m[0] in PREFERENCES))
    lacks = "; ".join(f"{shape} needs {' and '.join(roles)}" for shape, roles in missing.items() if shape != "task")
    longest = max(first.fields, key=lambda name: len(str(first.fields[name])), default="name")
    raise InputError(
        f"source `{spec.label}`: the columns ({have}) fit no shape: {lacks}",
        where=first.where,
        fix=f"name the columns: `columns: {{text: {longest}}}`, for example, or both `prompt` and `response`",
    )


def _found(shape: str, found: Mapping[str, str | None], spec: SourceSpec, signals: Mapping[str, Any] | None) -> Columns:
    by_role = {role: name for role, name in found.items() if name is not None}
    guessed = tuple(role for role in by_role if role not in spec.columns)
    return Columns(shape, by_role, guessed, spec.as_text and shape != "text", signals)


def _only_asks(first: Record, found: Mapping[str, str | None]) -> bool:
    """Whether nobody answers in a conversation."""
    column = str(found["messages"])
    return all(turn["role"] != "assistant" for turn in turns(first.fields[column], first.where, column))


def to_example(record: Record, columns: Columns) -> Example:
    """The Example of a raw row.

    Raises `InputError` for a missing column, a wrong type, a picture, a turn of an unknown role or what is no text.
    """
    record = implied(unfolded(record), columns.signals)
    refuse_media(record.fields, record.where)
    example = replace(_example(record, columns), as_text=columns.as_text)
    if example.as_text and columns.shape in PREFERENCES:
        raise InputError(
            "`as_text` makes text of a conversation, and this row says which answer is better",
            where=record.where,
            fix="remove `as_text`",
        )
    for text in (example.text,) if example.text is not None else (plain(m["content"]) for m in example.spoken):
        refuse_half(text, record.where)
    return example


def _example(record: Record, columns: Columns) -> Example:
    example_id = record.fields.get(columns.by_role.get("id", ""))
    file = str(record.where.path).rsplit("/", 1)[-1]
    name = str(example_id) if example_id is not None else f"{file}:{record.where.line}"
    if columns.shape == "text":
        return Example(name, record.where, text=_text(record, columns, "text"))
    if columns.shape in PREFERENCES:
        return _preference(record, columns, name)
    group = _optional(record, columns, "group")
    if columns.shape == "task":
        asked = _turns(record, columns) if "messages" in columns.by_role else _asked(record, columns)
        return Example(name, record.where, messages=(*asked, message("assistant", "")), pair=True, group=group)
    if columns.shape == "messages":
        tools = _tools(record, columns)
        return Example(name, record.where, messages=_turns(record, columns), tools=tools, group=group)
    return Example(name, record.where, messages=_pair(record, columns), pair=True, group=group)


def _check_named(first: Record, spec: SourceSpec) -> None:
    for role, column in spec.columns.items():
        if role not in NAMES:
            raise InputError(f"`columns.{role}` is no role{nearest(role, NAMES)}", fix="use a known role as key")
        if column not in first.fields:
            raise InputError(
                f"`columns.{role}: {column}`: there is no such column{nearest(column, first.fields)}",
                where=first.where,
                fix=f"change `columns.{role}`",
            )


def _column(role: str, fields: Mapping[str, Any], spec: SourceSpec) -> str | None:
    if role in spec.columns:
        return spec.columns[role]
    taken = set(spec.columns.values())
    return next((name for name in NAMES[role] if name in fields and name not in taken), None)


def _text(record: Record, columns: Columns, role: str) -> str:
    column = columns.by_role[role]
    if column not in record.fields:
        raise InputError(
            f"has no column `{column}` ({role}), which the first row has; its columns: {', '.join(record.fields)}",
            where=record.where,
            fix="give rows of different kinds as separate sources",
        )
    value = record.fields[column]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)  # a label, such as 0 or 1, is an answer
    if not isinstance(value, str):
        missing = value is None or isinstance(value, float)  # JSON's NaN and Infinity, a table's missing number
        kind = "empty" if missing else f"a {type(value).__name__}"
        raise InputError(f"column `{column}` ({role}) must hold text, it is {kind}", where=record.where)
    return value


def _optional(record: Record, columns: Columns, role: str) -> str:
    value = record.fields.get(columns.by_role.get(role, ""))
    missing = value is None or (isinstance(value, float) and not math.isfinite(value))
    return "" if missing else _text(record, columns, role)


def _pair(record: Record, columns: Columns) -> tuple[Message, ...]:
    answered = "output" if columns.shape == "instruction" else "response"
    return (*_asked(record, columns), message("assistant", _text(record, columns, answered)))


def _asked(record: Record, columns: Columns) -> tuple[Message, ...]:
    """What is asked in a row of a question and perhaps an answer."""
    asked, extra = ("instruction", "input") if columns.shape == "instruction" else ("prompt", "context")
    system, more = _optional(record, columns, "system"), _optional(record, columns, extra)
    prompt = "\n\n".join(part for part in (_text(record, columns, asked), more) if part)
    return ((message("system", system),) if system else ()) + (message("user", prompt),)


def _turns(record: Record, columns: Columns) -> tuple[Message, ...]:
    column = columns.by_role["messages"]
    if column not in record.fields:
        _text(record, columns, "messages")
    found = turns(record.fields[column], record.where, column)
    system = _optional(record, columns, "system")
    return ((message("system", system),) if system and found[0]["role"] != "system" else ()) + found


def _preference(record: Record, columns: Columns, name: str) -> Example:
    """A pair of answers, or one answer and what was thought of it."""
    where, system = record.where, _optional(record, columns, "system")
    value = {role: record.fields.get(column) for role, column in columns.by_role.items()}
    for role in NEEDED[columns.shape]:
        if value[role] is None:
            _text(record, columns, role)
    asked, tools = value.get("prompt"), _tools(record, columns)
    if columns.shape == "preference":
        prompt, chosen, rejected = preferred(asked, value["chosen"], value["rejected"], system, where)
        simple = isinstance(asked, str) and prompt == len(chosen) - 1 == len(rejected) - 1
        return Example(name, where, None, chosen, tools, pair=simple, rejected=rejected, prompt=prompt)
    prompt, said = judged(asked, value["completion"], system, where)
    good, simple = desirable(value["label"], where), isinstance(asked, str) and prompt == len(said) - 1
    kept, left = (said, ()) if good else ((), said)
    return Example(name, where, None, kept, tools, pair=simple, rejected=left, prompt=prompt)


def _tools(record: Record, columns: Columns) -> tuple[Any, ...]:
    value = record.fields.get(columns.by_role.get("tools", ""))
    if value is None or value == "":
        return ()
    found = parsed(value, record.where, columns.by_role["tools"])
    return tuple(found) if isinstance(found, list) else (found,)
