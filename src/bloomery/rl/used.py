"""What of the journal is trained: each rollout once, whatever happens to the trainer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.core.errors import InputError
from bloomery.rl.scores import Score, score_of
from bloomery.rl.tables import Attempt, attempt_of
from bloomery.serve.errors import Refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a rollout: its last attempt, and the score, None where it is unscorable for the `reason`."""

    rollout_id: str
    group_id: str
    row: Mapping[str, Any]
    attempt: Attempt
    score: Score | None
    reason: str | None


def settled(db: sqlite3.Connection, weights: Mapping[str, float]) -> dict[str, list[Outcome]]:
    """Groups in which nothing is pending and something can be trained, oldest first."""
    rows = db.execute(
        "select * from latest where train in ('scored', 'unscorable') and grp in (select grp from rollout group by grp "
        "having sum(train = 'pending') = 0 and sum(train = 'scored') > 0) order by place"
    ).fetchall()
    groups: dict[str, list[Outcome]] = {}
    for row in rows:
        attempt = attempt_of(row)
        score = score_of(db, weights, attempt) if row["train"] == "scored" else None
        outcome = Outcome(row["rollout"], row["grp"], json.loads(row["task"]), attempt, score, row["reason"])
        groups.setdefault(row["grp"], []).append(outcome)
    return groups


def batch(db: sqlite3.Connection, rollouts: Sequence[str], step: int) -> None:
    """Take scored rollouts into the batch of a step. Raises `InputError`, taking none, where one has no score or was
    taken already."""
    for rollout in rollouts:
        changed = db.execute(
            "update rollout set train = 'batched', step = ? where id = ? and train = 'scored'", (step, rollout)
        )
        if not changed.rowcount:
            found = db.execute("select train from rollout where id = ?", (rollout,)).fetchone()
            state = found["train"] if found else "unknown"
            raise InputError(f"rollout `{rollout}` cannot be trained: it is {state}", fix="take scored rollouts, once")


def trained(db: sqlite3.Connection, step: int) -> None:
    """The batches of all steps up to this one are in a checkpoint."""
    db.execute("update rollout set train = 'trained' where train = 'batched' and step <= ?", (step,))


def rewind(db: sqlite3.Connection, step: int) -> None:
    """The trainer goes on from the checkpoint of `step`: what was trained after it is to be trained again."""
    db.execute("update rollout set train = 'trained' where train = 'batched' and step <= ?", (step,))
    db.execute("update rollout set train = 'scored', step = null where step > ?", (step,))


def states(db: sqlite3.Connection, rollouts: Sequence[str]) -> dict[str, str]:
    """What is known of the training of each: `pending` while something is awaited."""
    found: dict[str, str] = {}
    for at in range(0, len(rollouts), 500):
        some = rollouts[at : at + 500]
        marks = ",".join("?" * len(some))
        query = f"select id, train from rollout where id in ({marks})"  # noqa: S608  only marks
        found |= {row["id"]: row["train"] for row in db.execute(query, some)}
    return found


def awaiting(db: sqlite3.Connection) -> list[Attempt]:
    """Attempts that ended, and have no reward yet."""
    query = "select * from latest where train = 'pending' and state in ('ready', 'failed') and reward is null"
    return [attempt_of(row) for row in db.execute(query)]


def drop(db: sqlite3.Connection, rollouts: Sequence[str], reason: str) -> None:
    """Leave rollouts out that are not batched; whoever still works on them hears that it is over."""
    for rollout in rollouts:
        db.execute(
            "update rollout set train = 'dropped', reason = ? where id = ? and train not in ('batched', 'trained')",
            (reason, rollout),
        )
        db.execute(
            "update attempt set state = 'expired' where rollout = ? and state in ('queued', 'leased', 'running')",
            (rollout,),
        )


STATUS = {"trained": "used", "unscorable": "dropped", "dropped": "dropped"}


def status(db: sqlite3.Connection, weights: Mapping[str, float], rollout: str) -> dict[str, Any]:
    """What is known of a rollout, as it is told to users. Raises `Refusal` 404."""
    row = db.execute("select * from latest where rollout = ?", (rollout,)).fetchone()
    if row is None:
        raise Refusal(404, f"there is no rollout `{rollout}`", code="not_found")
    attempt = attempt_of(row)
    kinds = dict(
        db.execute("select kind, count(*) from turn where attempt = ? group by kind", (attempt.id,)).fetchall()
    )
    score = score_of(db, weights, attempt)
    return {
        "rollout_id": rollout,
        "group_id": attempt.group_id,
        "attempt": attempt.number,
        "state": attempt.state,
        "error": json.loads(row["error"]) if row["error"] else None,
        "turns": attempt.turns,
        "tokens": attempt.tokens,
        "turn_kinds": {kind: kinds.get(kind, 0) for kind in ("clean", "realign", "fork")},
        "reward": score.reward if score else None,
        "components": score.components if score else {},
        "train_status": STATUS.get(row["train"], "pending"),
        "train_state": row["train"],
        "reason": row["reason"],
        "step": row["step"],
    }
