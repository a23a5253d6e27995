"""What became of a rollout: the seal, the rewards, and whether it has a score. A failure is never a score of 0."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bloomery.rl.leases import STOP, Terms, gone, leave_out, one, open_attempt, retry
from bloomery.rl.tables import Attempt
from bloomery.serve.errors import Refusal

Status = Literal["ready", "failed", "aborted"]
Fault = Literal["task", "model", "infrastructure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rollout failed. Only what the model did (`model`) may still carry a reward."""

    kind: Fault = "infrastructure"
    retryable: bool = True
    message: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """A reward as it was sent. `target` is the number of a turn, None for the rollout or all of its turns.

    The rollout's reward is `reward`, else the weighted sum of the `components`; what its turns got is added to it.
    """

    reward: float | None = None
    turns: tuple[float, ...] | None = None
    components: Mapping[str, float] = field(default_factory=dict)
    target: int | None = None

    @property
    def slot(self) -> str:
        """What this replaces when it is sent again."""
        return f"turn {self.target}" if self.target is not None else "turns" if self.turns is not None else "rollout"

    def to_json(self) -> dict[str, Any]:
        """What was told."""
        told: dict[str, Any] = {"reward": self.reward, "rewards": self.turns and [*self.turns]}
        return {key: value for key, value in told.items() if value is not None} | {"components": {**self.components}}


@dataclass(frozen=True, slots=True)
class Score:
    """What an attempt is worth: in all, by turn (0 where none was told), and by component."""

    reward: float
    turns: tuple[float, ...]
    components: dict[str, float]


def seal(
    db: sqlite3.Connection, now: float, terms: Terms, weights: Mapping[str, float],
    attempt: int, status: Status, failure: Failure | None, waits: bool,
) -> None:  # fmt: skip
    """The worker has ended; the first word counts. Raises `Refusal`: 409 for another one, 410 where it has expired.

    A failure of the model's that has no reward yet is unscorable at once, unless somebody else sends it: `waits`.
    """
    found = one(db, attempt)
    if found.state == status:
        return  # said again: a client that heard 409 would not send its reward
    open_attempt(db, attempt)
    failure = (failure or Failure()) if status == "failed" else failure
    told = json.dumps({"kind": failure.kind, "message": failure.message}) if failure else None
    db.execute(
        "update attempt set state = ?, error = ?, reward_deadline = ? where id = ?",
        (status, told, now + terms.reward, attempt),
    )
    if status == "aborted":
        leave_out(db, found.rollout_id, "the orchestrator aborted it")
    elif failure and failure.kind != "model":
        again = failure.kind == "infrastructure" and failure.retryable and retry(db, terms, found)
        if not again:
            leave_out(db, found.rollout_id, f"{failure.kind} failure: {failure.message}".rstrip(": "))
    elif not found.turns:
        leave_out(db, found.rollout_id, "nothing was sampled in it")
    elif failure and not waits and score_of(db, weights, found) is None:
        reason = f"model failure without a reward, which comes with complete or before it: {failure.message}"
        leave_out(db, found.rollout_id, reason.rstrip(": "))
    settle(db, weights, attempt)


def reward(db: sqlite3.Connection, now: float, weights: Mapping[str, float], attempt: int, told: Reported) -> None:
    """A reward arrives. `Refusal`: 409 for another one than before or one too late for its batch, 410 too late at all.

    `supersede` takes the old one back first, where another is wanted.
    """
    found = one(db, attempt)
    stored = db.execute("select told from reward where attempt = ? and slot = ?", (attempt, told.slot)).fetchone()
    text = json.dumps(told.to_json(), sort_keys=True)
    if stored and stored["told"] == text:
        return
    if found.state == "expired":
        raise gone(found)
    if found.state == "queued":
        raise Refusal(409, "nobody has claimed the rollout", code="not_claimed", headers=STOP)
    row = db.execute("select train, reward_deadline from tried where id = ?", (attempt,)).fetchone()
    if row["train"] in ("batched", "trained", "dropped"):
        raise Refusal(409, f"the rollout is {row['train']} already", code="too_late", headers=STOP)
    if row["reward_deadline"] is not None and row["reward_deadline"] < now:
        raise Refusal(410, "the time for a reward is over", code="reward_deadline", headers=STOP)
    if stored:
        message = f"another reward was stored: {stored['told']}; send `supersedes: true` to replace it"
        raise Refusal(409, message, code="reward_conflict", headers=STOP)
    _fits(told, found)
    db.execute("insert into reward values (?, ?, ?, ?)", (attempt, told.slot, text, now))
    settle(db, weights, attempt)


def supersede(db: sqlite3.Connection, attempt: int, slot: str) -> None:
    """Take a reward back, so that another may take its place; one that is batched stays."""
    db.execute(
        "delete from reward where attempt = ? and slot = ? and exists (select 1 from attempt join rollout "
        "on rollout.id = attempt.rollout where attempt.id = ? and train in ('pending', 'scored', 'unscorable'))",
        (attempt, slot, attempt),
    )


def _fits(told: Reported, attempt: Attempt) -> None:
    if told.turns is not None and len(told.turns) != attempt.turns:
        message = f"`rewards` has {len(told.turns)} values for {attempt.turns} turns"
        raise Refusal(400, message, param="rewards", code="invalid_value")


def settle(db: sqlite3.Connection, weights: Mapping[str, float], attempt: int) -> None:
    """Score the rollout if it is sealed and has a reward."""
    found = one(db, attempt)
    if found.state not in ("ready", "failed"):
        return
    score = score_of(db, weights, found)
    if score is None:
        return
    db.execute("update attempt set reward = ? where id = ?", (score.reward, attempt))
    db.execute(
        "update rollout set train = 'scored' where id = ? and train = 'pending' and not exists "
        "(select 1 from attempt where rollout = ? and number > ?)",
        (found.rollout_id, found.rollout_id, found.number),
    )


def score_of(db: sqlite3.Connection, weights: Mapping[str, float], attempt: Attempt) -> Score | None:
    """The score of an attempt as far as it was told; None where nothing was. Unnamed components weigh 1."""
    told = db.execute("select slot, told from reward where attempt = ? order by created", (attempt.id,)).fetchall()
    if not told:
        return None
    whole, turns, components = 0.0, [0.0] * attempt.turns, dict[str, float]()
    for row in told:
        value = json.loads(row["told"])
        components |= value["components"]
        if row["slot"] == "rollout":
            weighted = sum(weights.get(name, 1.0) * part for name, part in value["components"].items())
            whole = value.get("reward", weighted)
        elif row["slot"] == "turns":
            for number, part in enumerate(value["rewards"]):  # turns after it was told have none
                turns[number] += part
        else:
            turns[int(row["slot"].split()[1])] += value["reward"]
    return Score(whole + sum(turns), tuple(turns), components)


def overdue(db: sqlite3.Connection, now: float) -> None:
    """Give up waiting for rewards."""
    rows = db.execute(
        "select rollout from attempt where state in ('ready', 'failed') and reward is null and reward_deadline < ?",
        (now,),
    ).fetchall()
    for row in rows:
        [later] = db.execute(
            "select count(*) from attempt where rollout = ? and state in ('queued', 'leased', 'running')", (row[0],)
        ).fetchone()
        if not later:
            leave_out(db, row["rollout"], "no reward came before its deadline")
