"""The gateway: orchestrators claim tasks, talk to the model in the dialect they know, and send rewards back.

Everything they need goes outwards from them, so they may run behind a firewall. They see text; the token ids that are
trained stay here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bloomery.engine.protocol import Service
from bloomery.evals.prompts import Prompter
from bloomery.rl.bridge import Bridge
from bloomery.rl.forced import Forced
from bloomery.rl.journal import Journal
from bloomery.rl.leases import Claim, digest
from bloomery.rl.session import Session, Speaker
from bloomery.rl.sigv4 import Signers
from bloomery.rl.tables import Attempt
from bloomery.rl.valve import Valve
from bloomery.serve.access import key_of, same
from bloomery.serve.desk import Model
from bloomery.serve.errors import Refusal
from bloomery.serve.gate import Gate
from bloomery.serve.limits import Limits
from bloomery.serve.metrics import Metrics

LIMITS = Limits(running=64, queue=4096, patience=300.0)
"""Training waits where serving refuses: a rollout that is turned away is lost."""
POLL = 0.2
"""Seconds between looks at the queue while a claim waits; a task put by this process is seen at once."""


@dataclass(frozen=True, slots=True)
class Rights:
    """`token` is the project's key. `sessions_reward` False keeps the right to reward from session keys: where the
    model's own code could read them. `signers` may name trajectories (`sagemaker.py`)."""

    token: str
    sessions_reward: bool = True
    signers: Signers = field(default_factory=lambda: Signers({}))


class Gateway:
    """State of one gateway, for one event loop. `window` bounds rollouts that are under way or wait to be trained."""

    def __init__(
        self, service: Service, model: Model, prompter: Prompter, journal: Journal, rights: Rights, *,
        forced: Forced | None = None, limits: Limits = LIMITS, window: int | None = None, base_url: str | None = None,
        version: int = 0,
    ) -> None:  # fmt: skip
        self.journal, self.rights, self.limits, self.window = journal, rights, limits, window
        self.base_url, self.forced, self.model = base_url, forced or Forced(), model
        self.gate, self.valve = Gate(limits), Valve(version=version)
        self.metrics = Metrics(self._gauges)
        self.draining = self.hurried = False
        bridge = Bridge(prompter)
        self.speaker = Speaker(service, model, bridge, journal, self.forced, self.gate, self.valve)
        self._sessions: dict[str, Session] = {}
        self._news = asyncio.Event()

    def told_of_tasks(self) -> None:
        """Wake the claims that wait; for the event loop's thread."""
        self._news.set()
        self._news = asyncio.Event()

    async def claim(self, worker: str, most: int, seconds: float) -> list[Claim]:
        """Tasks for a worker, none where none came in time. Raises `Refusal` 429 where the window is full."""
        until = asyncio.get_running_loop().time() + seconds
        while True:
            if self.draining:
                raise Refusal(503, "the gateway is stopping", code="unavailable", headers={"retry-after": "5"})
            found = await asyncio.wrap_future(self.journal.claim(worker, most, self.window))
            left = until - asyncio.get_running_loop().time()
            if found or left <= 0:
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL, left)):
                    await self._news.wait()

    async def session(self, headers: Mapping[str, str], key: str = "") -> Session:
        """The session of a key, in the path or the headers. Raises `Refusal` 401 for a key that opens none."""
        return await self.session_of(digest(key or key_of(headers)))

    async def session_of(self, name: str) -> Session:
        """The session of a key's digest. Raises `Refusal` 401 where there is none."""
        if name not in self._sessions:
            attempt = await self._attempt(name)
            tree = await asyncio.wrap_future(self.journal.tree(attempt.id))
            made = Session(attempt, tree, asked=len(tree.turns))
            for sent in await asyncio.wrap_future(self.journal.sent(attempt.id)):
                made.keep(sent)
            self._tidy()
            self._sessions.setdefault(name, made)  # two first calls at once share the first one's
        self._sessions[name].used = time.monotonic()
        return self._sessions[name]

    def _tidy(self) -> None:
        """Let go of sessions that nobody has used for two leases; one that comes back is read from the journal."""
        since = time.monotonic() - 2 * self.journal.terms.lease
        idle = [name for name, one in self._sessions.items() if one.used < since and not one.calls]
        for name in idle:
            del self._sessions[name]

    async def _attempt(self, name: str) -> Attempt:
        found = await asyncio.wrap_future(self.journal.trajectory(name))
        if found is None:
            told = {"www-authenticate": "Bearer"}
            raise Refusal(401, "the session key is missing or wrong", code="invalid_api_key", headers=told)
        return found

    def project(self, headers: Mapping[str, str]) -> None:
        """Let the project's key in only. Raises `Refusal` 401, or 403 for a session's."""
        if not same(key_of(headers), self.rights.token):
            told = {"www-authenticate": "Bearer"}
            raise Refusal(401, "this needs the project's key", code="invalid_api_key", headers=told)

    async def worker(
        self, headers: Mapping[str, str], rollout: str, number: int | None, *, rewards: bool = False
    ) -> Attempt:
        """The attempt of a rollout that a key may speak for: the session key's own, or for the project's key the
        one of that number, the last where none is given.

        Raises `Refusal`: 401, 403 for another's rollout or a right that is withheld, 404, 410 for an earlier attempt.
        """
        if not same(key_of(headers), self.rights.token):
            found = await self._attempt(digest(key_of(headers)))
            if found.rollout_id != rollout:
                raise Refusal(403, "the session key is of another rollout", code="wrong_session")
            if rewards and not self.rights.sessions_reward:
                raise Refusal(403, "rewards of this run need the project's key", code="reward_withheld")
            return found
        latest = await asyncio.wrap_future(self.journal.latest(rollout))
        if latest is None:
            raise Refusal(404, f"there is no rollout `{rollout[:200]}`", code="not_found")
        if number is not None and number != latest.number:
            raise Refusal(410, f"attempt {number} was given up; this is {latest.number}", code="lease_expired")
        return latest

    async def target(self, attempt: Attempt, completion: str | None) -> int | None:
        """The number of the turn that an answer's id names. Raises `Refusal` 400 for one of another rollout."""
        if completion is None:
            return None
        replies = await asyncio.wrap_future(self.journal.sent(attempt.id))
        numbers = {sent.completion: number for number, sent in enumerate(replies)}
        if completion not in numbers:
            raise Refusal(400, "`target` is no answer of this rollout", param="target", code="invalid_value")
        return numbers[completion]

    def forget(self, attempt: Attempt) -> None:
        """Let go of a session that has ended; a late call reads it from the journal again."""
        for name in [name for name, session in self._sessions.items() if session.attempt.id == attempt.id]:
            if not self._sessions[name].calls:
                del self._sessions[name]

    def _gauges(self) -> dict[str, Any]:
        return {
            "sessions": len(self._sessions),
            "answers_running": self.gate.taken,
            "requests_waiting": self.gate.waiting,
            "policy_version": self.valve.version,
        }
