"""Where an answer comes from: what the model held, who was asked, what each said, and how it was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bloomery.core.errors import InputError
from bloomery.review.queue import Item, ReviewQueue


@dataclass(frozen=True, slots=True)
class History:
    """An item with the acts of the trail that are about it, in order; `answer` is None while it is undecided."""

    item: Item
    answer: str | None
    acts: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        about = {"id": self.item.id, "question": self.item.question, "scores": dict(self.item.scores)}
        return about | {"value": self.item.value, "answer": self.answer, "acts": [dict(act) for act in self.acts]}

    def __str__(self) -> str:
        by = next((act["by"] for act in self.acts if act["act"] == "decide"), "")
        said = f"`{self.answer}`, decided by {by}" if self.answer is not None else "no answer yet"
        held = ", ".join(f"{label} {p:.2f}" for label, p in self.item.scores.items())
        head = f"{self.item.id}:{self.item.question}: {said}; the model held {held}, worth {self.item.value:.3g}"
        return "\n".join([head, *(f"{_time(act['time'])}  {_told(act)}" for act in self.acts)])


def history(queue: ReviewQueue, row: str) -> History:
    """The history of an exported row, by its id: ID:QUESTION. Raises `InputError` where the queue has no such item."""
    name, _, question = row.rpartition(":")
    found = queue.find(name, question)
    if found is None:
        raise InputError(f"the queue has no row `{row}`", fix="give the `id` of an exported row: ID:QUESTION")
    number, item = found
    acts = [act for act in queue.acts() if act.get("item") == number]
    answer = next((str(act["label"]) for act in acts if act["act"] == "decide"), None)
    return History(item, answer, acts)


def _told(act: Mapping[str, Any]) -> str:
    kind = act["act"]
    if kind == "label":
        return f"{act['person']} said `{act['label']}`" + (f": {act['note']}" if act["note"] else "")
    if kind == "lease":
        return f"{act['person']} took it"
    if kind == "release":
        return f"{act['person']} gave it back"
    if kind == "disagree":
        return "they disagree: " + ", ".join(f"{who} `{label}`" for who, label in act["votes"].items())
    return f"decided `{act['label']}` by {act['by']}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
