"""The tables of the journal, and turns as rows of them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np

from bloomery.rl.turns import Turn

VERSION = 1
SCHEMA = """
create table rollout (
  id text primary key, grp text not null, task text not null, created real not null,
  train text not null default 'pending', reason text, step integer
);
create index rollout_group on rollout (grp);
create index rollout_train on rollout (train);
create table attempt (
  id integer primary key, rollout text not null references rollout, number integer not null,
  state text not null default 'queued', key text unique, worker text,
  lease real, deadline real, reward_deadline real, error text,
  turns integer not null default 0, tokens integer not null default 0, reward real,
  unique (rollout, number)
);
create index attempt_state on attempt (state);
create table turn (
  attempt integer not null references attempt, number integer not null, parent integer, kind text not null,
  added text not null, tools text not null, bridge blob not null, sampled blob not null, logp blob not null,
  version integer not null, finish text not null, reply text not null,
  completion text not null, digest text not null, idempotency text, body blob not null, media text not null,
  created real not null, primary key (attempt, number)
);
create index turn_digest on turn (attempt, digest);
create table reward (
  attempt integer not null references attempt, slot text not null, told text not null, created real not null,
  primary key (attempt, slot)
);
create view tried as
  select attempt.*, grp, task, train, reason, step, rollout.rowid as place
  from attempt join rollout on rollout.id = attempt.rollout;
create view latest as
  select * from tried
  where number = (select max(number) from attempt as other where other.rollout = tried.rollout)
"""
"""Of an attempt `state` is queued, leased, running, ready, failed, aborted or expired. Of a rollout `train` is pending,
scored, unscorable, batched, trained or dropped, and `step` the step that it was batched for. `key` is a digest."""


INSERT = "insert into turn values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Sent:
    """The reply to one request, so that a repeated one gets it again: `completion` its id, `digest` of the request."""

    completion: str
    digest: str
    idempotency: str | None
    body: bytes
    media: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a rollout by one worker."""

    id: int
    rollout_id: str
    group_id: str
    number: int
    state: str
    turns: int
    tokens: int


def attempt_of(row: sqlite3.Row) -> Attempt:
    """An attempt of a row of `tried` or `latest`."""
    return Attempt(*(row[name] for name in ("id", "rollout", "grp", "number", "state", "turns", "tokens")))


def put_turn(db: sqlite3.Connection, attempt: int, turn: Turn, sent: Sent, now: float) -> None:
    """Write a turn with its reply."""
    ids = [np.array(value, np.int32).tobytes() for value in (turn.bridge, turn.sampled)]
    logp = np.asarray(turn.logp, np.float32).tobytes()
    told = (json.dumps([*turn.added]), turn.tools, *ids, logp, turn.version, turn.finish, json.dumps(turn.reply))
    reply = (sent.completion, sent.digest, sent.idempotency, sent.body, sent.media, now)
    values = (attempt, turn.number, turn.parent, turn.kind, *told, *reply)
    db.execute(INSERT, values)


def turns_of(db: sqlite3.Connection, attempt: int) -> list[Turn]:
    """The turns of an attempt, in order."""
    return [_turn(row) for row in db.execute("select * from turn where attempt = ? order by number", (attempt,))]


def _turn(row: sqlite3.Row) -> Turn:
    ids: dict[str, Any] = {name: tuple(np.frombuffer(row[name], np.int32).tolist()) for name in ("bridge", "sampled")}
    same: dict[str, Any] = {name: row[name] for name in ("number", "parent", "kind", "tools", "version", "finish")}
    logp = np.frombuffer(row["logp"], np.float32)
    return Turn(**same, **ids, logp=logp, added=tuple(json.loads(row["added"])), reply=json.loads(row["reply"]))
