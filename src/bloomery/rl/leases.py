"""Who works on what: attempts are claimed, kept alive, and given to another worker when nobody hears of them."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.rl.tables import Attempt, attempt_of
from bloomery.serve.errors import Refusal

STOP = {"x-should-retry": "false"}
"""Tells openai's clients, which send a request again after a 409, that it would not help."""

SILENT = 120.0
"""Seconds that a worker gets to be heard of again, when the connection to it was lost."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a worker may take, in seconds of wall time, and how much it may ask for."""

    lease: float = 120.0
    """Without a call or a heartbeat for so long, the attempt is given up."""
    call: float = 600.0
    """A call to the model keeps the lease for at most so long while it is answered."""
    deadline: float = 3600.0
    """From the claim; after it a rollout is unscorable."""
    reward: float = 3600.0
    """From the seal to the reward; after it a rollout is unscorable."""
    attempts: int = 2
    turns: int = 256
    tokens: int = 1 << 17
    """Most tokens sampled in one attempt."""


@dataclass(frozen=True, slots=True)
class Task:
    """A rollout wanted: `row` is what the worker gets to see; rollouts of one group are answers to the same row."""

    rollout_id: str
    group_id: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt in the hands of a worker. `key` is told once, here; the journal keeps a digest of it."""

    attempt: Attempt
    row: Mapping[str, Any]
    key: str


def put(db: sqlite3.Connection, now: float, tasks: Sequence[Task]) -> int:
    """Queue rollouts; how many are new. One that is known by its id stays as it is."""
    new = 0
    for task in tasks:
        told = (task.rollout_id, task.group_id, json.dumps(task.row), now)
        if db.execute("insert or ignore into rollout (id, grp, task, created) values (?, ?, ?, ?)", told).rowcount:
            db.execute("insert into attempt (rollout, number) values (?, 1)", (task.rollout_id,))
            new += 1
    return new


def claim(db: sqlite3.Connection, now: float, terms: Terms, worker: str, most: int, window: int | None) -> list[Claim]:
    """Up to `most` attempts from the front of the queue.

    Raises `Refusal` 429 where `window` rollouts are under way or wait to be trained: more would only grow stale.
    """
    if window is not None:
        [taken] = db.execute(
            "select count(*) from latest where train in ('pending', 'scored') and state != 'queued'"
        ).fetchone()
        if taken >= window:
            message = f"{taken} rollouts are under way or wait to be trained: more would be stale; try again"
            raise Refusal(429, message, code="window_full", headers={"retry-after": "5"})
        most = min(most, window - taken)
    rows = db.execute(
        "select id, task from tried where state = 'queued' and train = 'pending' order by id limit ?",
        (most,),
    ).fetchall()
    return [_claimed(db, now, terms, worker, row["id"], json.loads(row["task"])) for row in rows]


def _claimed(db: sqlite3.Connection, now: float, terms: Terms, worker: str, attempt: int, row: Any) -> Claim:
    key = secrets.token_urlsafe(32)
    db.execute(
        "update attempt set state = 'leased', key = ?, worker = ?, lease = ?, deadline = ? where id = ?",
        (digest(key), worker, now + terms.lease, now + terms.deadline, attempt),
    )
    return Claim(one(db, attempt), row, key)


def digest(key: str) -> str:
    """What is kept of a session key."""
    return hashlib.sha256(key.encode()).hexdigest()


def by_digest(db: sqlite3.Connection, name: str) -> Attempt | None:
    """The attempt whose session key has this digest."""
    row = db.execute("select * from tried where key = ?", (name,)).fetchone()
    return attempt_of(row) if row else None


def one(db: sqlite3.Connection, attempt: int) -> Attempt:
    """An attempt as it is now."""
    return attempt_of(db.execute("select * from tried where id = ?", (attempt,)).fetchone())


def latest(db: sqlite3.Connection, rollout: str) -> Attempt | None:
    """The last attempt of a rollout."""
    row = db.execute("select * from latest where rollout = ?", (rollout,)).fetchone()
    return attempt_of(row) if row else None


def open_attempt(db: sqlite3.Connection, attempt: int) -> Attempt:
    """An attempt that may go on. Raises `Refusal`: 409 where it is sealed, 410 where it has expired."""
    found = one(db, attempt)
    if found.state == "expired":
        raise gone(found)
    if found.state == "queued":
        raise Refusal(409, "nobody has claimed the rollout", code="not_claimed", headers=STOP)
    if found.state not in ("leased", "running"):
        raise Refusal(409, f"the rollout is sealed as {found.state}", code="sealed", headers=STOP)
    return found


def gone(attempt: Attempt) -> Refusal:
    """What a worker hears whose attempt was given up."""
    message = f"attempt {attempt.number} of this rollout was given up; what it does now is not used"
    return Refusal(410, message, code="lease_expired", headers=STOP)


def begin(db: sqlite3.Connection, now: float, terms: Terms, attempt: int) -> None:
    """A call to the model begins. Raises `Refusal` as `open_attempt` does, and 400 beyond turns or tokens."""
    found = open_attempt(db, attempt)
    for name, used, most in (("turns", found.turns, terms.turns), ("tokens", found.tokens, terms.tokens)):
        if used >= most:
            raise Refusal(400, f"the rollout has used its {most:,} {name}; complete it", code="limit_reached")
    extend(db, attempt, now + terms.call + terms.lease)
    db.execute("update attempt set state = 'running' where id = ?", (attempt,))


def extend(db: sqlite3.Connection, attempt: int, until: float) -> None:
    """Keep an attempt alive."""
    db.execute("update attempt set lease = max(lease, ?) where id = ?", (until, attempt))


def retry(db: sqlite3.Connection, terms: Terms, attempt: Attempt) -> bool:
    """Queue the rollout once more, as a fresh attempt; False where it has had all of its attempts."""
    if attempt.number >= terms.attempts:
        return False
    db.execute("insert into attempt (rollout, number) values (?, ?)", (attempt.rollout_id, attempt.number + 1))
    return True


def put_back(db: sqlite3.Connection, attempt: int) -> None:
    """A task that did not reach its worker goes to the front of the queue again, and its key opens nothing any more."""
    db.execute(
        "update attempt set state = 'queued', key = null, worker = null, lease = null, deadline = null "
        "where id = ? and state = 'leased'",
        (attempt,),
    )


def lost(db: sqlite3.Connection, now: float, terms: Terms, attempt: int, heard: bool = False) -> None:
    """Nobody knows whether the worker has the task: its attempt is over and another begins. One that has called the
    model must be heard of again soon, unless `heard` says that this does not count.

    Should it have the task after all, its calls get 410: two workers never end the same attempt.
    """
    running = "state in ('leased', 'running')" if heard else "state = 'leased'"
    if db.execute(f"update attempt set state = 'expired' where id = ? and {running}", (attempt,)).rowcount:  # noqa: S608
        _once_more(db, terms, one(db, attempt))
    else:
        until = now + min(SILENT, terms.lease)
        db.execute("update attempt set lease = min(lease, ?) where id = ? and state = 'running'", (until, attempt))


def under_way(db: sqlite3.Connection, worker: str) -> list[Attempt]:
    """Attempts in the hands of a worker."""
    rows = db.execute("select * from tried where worker = ? and state in ('leased', 'running')", (worker,))
    return [attempt_of(row) for row in rows]


def _once_more(db: sqlite3.Connection, terms: Terms, attempt: Attempt) -> None:
    if not retry(db, terms, attempt):
        leave_out(db, attempt.rollout_id, f"no worker completed it in {terms.attempts} attempts")


def expire(db: sqlite3.Connection, now: float, terms: Terms) -> list[Attempt]:
    """Give up what nobody was heard of, and what has taken too long; those attempts."""
    over = "select * from tried where state in ('leased', 'running') and (lease < :now or deadline < :now)"
    found = db.execute(over, {"now": now}).fetchall()
    for row in found:
        db.execute("update attempt set state = 'expired' where id = ?", (row["id"],))
        if row["deadline"] < now:
            leave_out(db, row["rollout"], "it was not completed before its deadline")
        else:
            _once_more(db, terms, attempt_of(row))
    return [attempt_of(row) for row in found]


def leave_out(db: sqlite3.Connection, rollout: str, reason: str) -> None:
    """A rollout that has no score: in no loss, and in no baseline."""
    db.execute(
        "update rollout set train = 'unscorable', reason = ? where id = ? and train = 'pending'", (reason, rollout)
    )


def reopen(db: sqlite3.Connection, now: float, terms: Terms) -> None:
    """After a restart: workers that are still there get the time to say so."""
    db.execute(
        "update attempt set lease = max(lease, :then), deadline = max(deadline, :then) "
        "where state in ('leased', 'running')",
        {"then": now + terms.lease},
    )
    db.execute("update attempt set reward_deadline = max(reward_deadline, ?)", (now + terms.lease,))
