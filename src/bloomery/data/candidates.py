"""Rows of preferences as Amazon Nova has them: a conversation whose last turn holds labelled candidates.

{"messages": [..., {"role": "assistant", "candidates": [
    {"content": [{"text": "..."}], "preferenceLabel": "preferred"},
    {"content": [{"text": "..."}], "preferenceLabel": "non-preferred"}]}], "system": [{"text": "..."}]}
"""

from __future__ import annotations

from typing import Any

from bloomery.core.errors import InputError, Where, nearest
from bloomery.data.readers import Record
from bloomery.data.turns import plain

COLUMN, KEY, LABEL = "messages", "candidates", "preferenceLabel"
LABELS = {"preferred": "chosen", "non-preferred": "rejected"}


def unfolded(record: Record) -> Record:
    """The row with `prompt`, `chosen` and `rejected` where its last message has candidates; any other as it is.

    Raises `InputError` unless one candidate is preferred and one is not.
    """
    messages = record.fields.get(COLUMN)
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict) or KEY not in messages[-1]:
        return record
    fields = {name: value for name, value in record.fields.items() if name != COLUMN}
    if isinstance(fields.get("system"), list):
        fields["system"] = plain([part for part in fields["system"] if isinstance(part, dict) and "text" in part])
    answers = _answers(messages[-1][KEY], record.where)
    return Record(fields | {"prompt": messages[:-1]} | answers, record.where)


def _answers(candidates: Any, where: Where) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    listed = [one for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else []
    for one in listed:
        label = str(one.get(LABEL))
        if label not in LABELS:
            raise InputError(f"`{LABEL}: {label}` is unknown{nearest(label, LABELS)}", where=where)
        found[LABELS[label]] = [{"role": "assistant", "content": one.get("content")}]
    if len(listed) != 2 or len(found) != 2:
        raise InputError(
            f"`{KEY}` must hold one preferred answer and one non-preferred; here are {len(listed)}",
            where=where,
            fix="write one row for each pair that is to be compared",
        )
    return found
