"""The trail of a review queue: every act in order, each line hashed together with the one before it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from bloomery.core.errors import DamagedError, Where
from bloomery.core.files import canonical_hash

FIRST = "0" * 64
"""What stands before the first act."""


def note(queue: sqlite3.Connection, time: float, act: str, **about: Any) -> str:
    """Append an act inside the caller's transaction, and return its hash: the head of the trail."""
    last = queue.execute("select hash from trail order by number desc limit 1").fetchone()
    before = last[0] if last else FIRST
    body = json.dumps({"time": time, "act": act} | about, sort_keys=True, ensure_ascii=False)
    found = canonical_hash([before, body])
    queue.execute("insert into trail (body, hash) values (?, ?)", (body, found))
    return found


def acts(queue: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Every act in order, with its number and hash."""
    for number, body, found in queue.execute("select number, body, hash from trail order by number"):
        yield {"number": number, "hash": found} | json.loads(body)


def verify(queue: sqlite3.Connection, where: Where, head: str | None = None) -> tuple[int, str]:
    """(acts, head) of a whole trail.

    Raises `DamagedError` at the first act that was changed, taken out or put in; where votes or answers are not those
    of the trail; and where `head`, noted elsewhere at an earlier time, is no act of it: only that shows a trail whose
    end was cut off or that was written anew.
    """
    before, count, seen = FIRST, 0, head is None or head == FIRST
    votes, answers = set(), {}
    for number, body, found in queue.execute("select number, body, hash from trail order by number"):
        count += 1
        if number != count or found != canonical_hash([before, body]):
            raise DamagedError(f"act {count} of the trail is not what was written", where=where)
        before, seen = found, seen or found == head
        act = json.loads(body)
        if act["act"] == "label":
            votes.add((act["item"], act["person"], act["label"]))
        elif act["act"] == "decide":
            answers[act["item"]] = act["label"]
    if not seen:
        raise DamagedError(f"{str(head)[:12]} is no act of the trail: it was cut off or written anew", where=where)
    if votes != set(queue.execute("select item, person, label from vote")):
        raise DamagedError("the votes are not those of the trail", where=where)
    if answers != dict(queue.execute("select number, answer from item where answer is not null")):
        raise DamagedError("the answers are not those of the trail", where=where)
    return count, before
