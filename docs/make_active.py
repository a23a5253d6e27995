"""Writes the rows of `recipes/active`: made-up support tickets with the answers that people would give.

python docs/make_active.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "recipes" / "active"
POOL, TEST = 240, 120

GREETINGS = ("Hello,", "Hi there,", "Good morning,", "Dear team,", "To whom it may concern,", "Hey,")
THINGS = ("the shop", "the booking page", "the app", "the card reader", "the printer", "the order form", "the gateway")
URGENT = (
    "{thing} is down and customers are waiting", "{thing} has been dead since noon and we lose orders",
    "nobody can sign in to {thing} at all", "{thing} shows strangers the data of our clients",
    "{thing} charges every card twice right now", "smoke comes out of {thing}",
)  # fmt: skip
CALM = (
    "how do I change the colour of {thing}", "{thing} could do with a darker theme", "where is the manual of {thing}",
    "{thing} works well, thank you", "can {thing} be had in Danish", "we will need {thing} for a second site next year",
    "{thing} is a little slow on Mondays", "who looks after {thing} here", "is {thing} part of the small plan",
    "{thing} spells our name with one letter too few", "may I rename {thing}", "when does {thing} get its next update",
)  # fmt: skip
REFUND = (
    "Please send my money back.", "I want a refund.", "Cancel it and return what I paid.",
    "Take the charge off my card.",
)  # fmt: skip
NO_REFUND = (
    "Please let me know.", "Thanks in advance.", "I can send a picture.", "A short answer is enough.",
    "Call me any time.", "No hurry.", "I have tried it twice.", "My colleague sees it too.",
)  # fmt: skip


def tickets(seed: str, count: int) -> list[dict[str, object]]:
    """So many tickets: one in eight is urgent, one in five wants its money back."""
    draw = random.Random(f"tickets/{seed}")
    rows = []
    for number in range(count):
        urgent, refund = draw.random() < 1 / 8, draw.random() < 1 / 5
        what = draw.choice(URGENT if urgent else CALM).format(thing=draw.choice(THINGS))
        text = f"{draw.choice(GREETINGS)} {what}. {draw.choice(REFUND if refund else NO_REFUND)} Ticket {number}."
        rows.append({"id": f"{seed}-{number:03}", "text": text, "labels": {"urgent": urgent, "refund": refund}})
    return rows


def written(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    for name, count in (("pool", POOL), ("test", TEST)):
        (FOLDER / f"{name}.jsonl").write_text(written(tickets(name, count)))
