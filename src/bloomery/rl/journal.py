"""The journal of all sessions: one SQLite file, written before anybody gets a reply.

It is the truth about rollouts: which attempt may still speak, every id that was sampled, the rewards, and what was
trained. A process that is killed opens it again and goes on. Every method gives a future, since the file has a thread
of its own; what it raises comes out of the future, refusals as `Refusal` with the status that a client gets.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from bloomery.rl import leases, scores, used
from bloomery.rl.leases import Claim, Task, Terms
from bloomery.rl.scores import Failure, Reported, Status
from bloomery.rl.tables import SCHEMA, VERSION, Attempt, Sent, put_turn, turns_of
from bloomery.rl.turns import Tree, Turn
from bloomery.rl.used import Outcome
from bloomery.rl.writer import Writer

Result = TypeVar("Result")


class Journal:
    """One file. `clock` is seconds since 1970; `weights` are those of reward components, 1 where none is given."""

    def __init__(
        self,
        path: Path,
        terms: Terms | None = None,
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.terms, self.weights, self.clock = terms or Terms(), dict(weights or {}), clock
        self._writer = Writer(path, SCHEMA, VERSION, self._sweep)
        self._now(lambda db, now: leases.reopen(db, now, self.terms), durable=True).result()

    def close(self) -> None:
        """Finish what was asked for, and close the file."""
        self._writer.close()

    def put(self, tasks: Sequence[Task]) -> Future[int]:
        """Queue rollouts; how many are new."""
        return self._now(lambda db, now: leases.put(db, now, tasks), durable=True)

    def claim(self, worker: str, most: int = 1, window: int | None = None) -> Future[list[Claim]]:
        """Up to `most` attempts for a worker; see `leases.claim`."""
        return self._now(lambda db, now: leases.claim(db, now, self.terms, worker, most, window), durable=True)

    def put_back(self, attempt: int) -> Future[None]:
        """A claimed task did not reach its worker; see `leases.put_back`."""
        return self._writer.do(lambda db: leases.put_back(db, attempt), durable=True)

    def lost(self, attempt: int, heard: bool = False) -> Future[None]:
        """A claimed task may not have reached its worker; see `leases.lost`."""
        return self._now(lambda db, now: leases.lost(db, now, self.terms, attempt, heard), durable=True)

    def under_way(self, worker: str) -> Future[list[Attempt]]:
        """Attempts in the hands of a worker."""
        return self._writer.do(lambda db: leases.under_way(db, worker))

    def find(self, key: str) -> Future[Attempt | None]:
        """The attempt that a session key opens, whatever its state."""
        return self.trajectory(leases.digest(key))

    def trajectory(self, name: str) -> Future[Attempt | None]:
        """The attempt by the digest of its session key, whatever its state."""
        return self._writer.do(lambda db: leases.by_digest(db, name))

    def latest(self, rollout: str) -> Future[Attempt | None]:
        """The last attempt of a rollout."""
        return self._writer.do(lambda db: leases.latest(db, rollout))

    def begin(self, attempt: int) -> Future[None]:
        """A call to the model begins."""
        return self._now(lambda db, now: leases.begin(db, now, self.terms, attempt))

    def record(self, attempt: int, turn: Turn, sent: Sent) -> Future[None]:
        """A turn and the reply that its client is about to get. Raises `Refusal` where the attempt is over by now."""

        def work(db: sqlite3.Connection, now: float) -> None:
            leases.open_attempt(db, attempt)
            put_turn(db, attempt, turn, sent, now)
            told = (len(turn.sampled), now + self.terms.lease, attempt)
            db.execute("update attempt set turns = turns + 1, tokens = tokens + ?, lease = ? where id = ?", told)

        return self._now(work)

    def failed(self, attempt: int) -> Future[None]:
        """A call to the model ended without a turn: the lease is an ordinary one again."""

        def work(db: sqlite3.Connection, now: float) -> None:
            until = (now + self.terms.lease, attempt)
            db.execute("update attempt set lease = ? where id = ? and state = 'running'", until)

        return self._now(work)

    def heartbeat(self, attempt: int) -> Future[None]:
        """The worker lives."""

        def work(db: sqlite3.Connection, now: float) -> None:
            leases.open_attempt(db, attempt)
            leases.extend(db, attempt, now + self.terms.lease)

        return self._now(work)

    def seal(self, attempt: int, status: Status, failure: Failure | None = None, waits: bool = True) -> Future[None]:
        """The worker has ended; see `scores.seal`."""
        return self._now(
            lambda db, now: scores.seal(db, now, self.terms, self.weights, attempt, status, failure, waits),
            durable=True,
        )

    def reward(self, attempt: int, told: Reported, supersedes: bool = False) -> Future[None]:
        """A reward arrives; see `scores.reward`."""

        def work(db: sqlite3.Connection, now: float) -> None:
            if supersedes:
                scores.supersede(db, attempt, told.slot)
            scores.reward(db, now, self.weights, attempt, told)

        return self._now(work, durable=True)

    def status(self, rollout: str) -> Future[dict[str, Any]]:
        """What is known of a rollout, with its `train_status` and the reason."""
        return self._writer.do(lambda db: used.status(db, self.weights, rollout))

    def tree(self, attempt: int) -> Future[Tree]:
        """The turns of an attempt."""
        return self._writer.do(lambda db: Tree(turns_of(db, attempt)))

    def sent(self, attempt: int) -> Future[list[Sent]]:
        """Every reply of an attempt, in order."""
        query = "select completion, digest, idempotency, body, media from turn where attempt = ? order by number"
        return self._writer.do(lambda db: [Sent(*row) for row in db.execute(query, (attempt,))])

    def settled(self) -> Future[dict[str, list[Outcome]]]:
        """Groups that are ready to be trained; see `used.settled`."""
        return self._writer.do(lambda db: used.settled(db, self.weights))

    def batch(self, rollouts: Sequence[str], step: int) -> Future[None]:
        """Take rollouts into the batch of a step, each once; see `used.batch`."""
        return self._writer.do(lambda db: used.batch(db, rollouts, step), durable=True)

    def trained(self, step: int) -> Future[None]:
        """The batches of all steps up to this one are in a checkpoint."""
        return self._writer.do(lambda db: used.trained(db, step), durable=True)

    def rewind(self, step: int) -> Future[None]:
        """The trainer goes on from the checkpoint of `step`."""
        return self._writer.do(lambda db: used.rewind(db, step), durable=True)

    def states(self, rollouts: Sequence[str]) -> Future[dict[str, str]]:
        """What is known of the training of each: `pending` while something is awaited."""
        return self._writer.do(lambda db: used.states(db, rollouts))

    def awaiting(self) -> Future[list[Attempt]]:
        """Attempts that ended, and have no reward yet."""
        return self._writer.do(used.awaiting)

    def unscorable(self, rollout: str, reason: str) -> Future[None]:
        """A rollout that ended cannot be scored."""
        return self._writer.do(lambda db: leases.leave_out(db, rollout, reason), durable=True)

    def drop(self, rollouts: Sequence[str], reason: str) -> Future[None]:
        """Leave rollouts out."""
        return self._writer.do(lambda db: used.drop(db, rollouts, reason), durable=True)

    def sweep(self) -> Future[None]:
        """Give up what has taken too long; done every second by itself."""
        return self._writer.do(self._sweep, durable=True)

    def _sweep(self, db: sqlite3.Connection) -> None:
        leases.expire(db, self.clock(), self.terms)
        scores.overdue(db, self.clock())

    def _now(self, work: Callable[[sqlite3.Connection, float], Result], durable: bool = False) -> Future[Result]:
        return self._writer.do(lambda db: work(db, self.clock()), durable)
