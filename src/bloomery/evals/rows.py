"""What every kind of suite reads of a row: its name, its part, its question and what an answer is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bloomery.evals.prompts import messages_of
from bloomery.evals.suites import Row
from bloomery.graders.payload import text_of


def ident(row: Row, number: int) -> str:
    """The row's own id, else its number."""
    return str(row.get("id", number))


def part(row: Row) -> str:
    """The skill or other slice it belongs to."""
    return str(row.get("skill") or "")


def question(row: Row) -> str:
    """What is asked, as text."""
    return "\n".join(text_of(message) for message in messages_of(row))


def reference_of(row: Row) -> Any:
    """What an answer is graded against: the row's own reference, else the answer that the row ends with."""
    metadata = row.get("metadata")
    inside = metadata.get("reference_answer") if isinstance(metadata, Mapping) else None
    for found in (row.get("reference_answer"), inside, row.get("response")):
        if found is not None:
            return found
    messages = row.get("messages") or [{}]
    return text_of(messages[-1]) if messages[-1].get("role") == "assistant" else None


def references_of(row: Row) -> tuple[str, ...]:
    """The same as texts, any of which is right; () where there is none."""
    wanted = reference_of(row)
    if wanted is None:
        return ()
    return tuple(map(str, wanted)) if isinstance(wanted, list | tuple) else (str(wanted),)
