"""A gateway without a model: it deals tasks with traps in them, and remembers what an orchestrator did about each.

The traps are what happens to every orchestrator once a run is long enough: a reply is lost after the turn was kept, the
gateway is busy, the rollout is ended under it, its lease is over.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bloomery.engine.protocol import Request, Token
from bloomery.rl.dialects import DIALECTS
from bloomery.rl.gateway import Gateway
from bloomery.rl.leases import Claim, digest
from bloomery.rl.sagemaker import TRAJECTORY
from bloomery.rl.sagemaker import WAIT as AMAZONS
from bloomery.serve.access import key_of

TRAPS = ("plain", "busy", "dropped", "sealed", "expired", "last")
"""As they are dealt. `plain` and `last` have no trap: the second shows that the others were survived."""
MODEL = (*DIALECTS, "/chat/completions", "/sample", "/sample-with-response-stream")
ENDS = {"complete": (":complete", "/complete-rollout"), "reward": (":reward", "/update-reward")}
WAIT = 1
"""Seconds that a busy gateway asks for."""


class Recited:
    """A service that says its `answers` one after another, over and over."""

    context = 1 << 15

    def __init__(self, tokenizer: Any, answers: Sequence[str]) -> None:
        self._tokenizer, self._answers, self._next = tokenizer, [*answers], 0

    def submit(self, request: Request, told: Callable[[Token], None]) -> Recited:
        """Tell the next answer at once."""
        text = self._answers[self._next % len(self._answers)]
        self._next += 1
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"][: request.sampling.max_new_tokens - 1]
        for one in ids:
            told(Token(one, -0.5))
        told(Token(self._tokenizer.eos_token_id or 0, -0.1, ended="stop"))
        return self

    def cancel(self) -> None:
        """It has ended."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A call about a rollout: when, what (`model`, `complete`, `reward`, `heartbeat`), in which attempt, the reply."""

    at: float
    what: str
    rollout: str
    attempt: int
    status: int


class Trapped:
    """The gateway's app with the traps before it. `seen` is every call about a rollout, in order."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.app, self.journal = app, gateway.journal
        self.seen: list[Seen] = []
        self._claims: dict[str, Claim] = {}
        self._calls: Counter[tuple[str, int]] = Counter()
        claim = self.journal.claim

        def noted(worker: str, most: int = 1, window: int | None = None) -> Future[list[Claim]]:
            found = claim(worker, most, window)
            found.add_done_callback(self._note)
            return found

        self.journal.claim = noted  # type: ignore[method-assign]

    def _note(self, claims: Future[list[Claim]]) -> None:
        if claims.exception() is None:
            self._claims |= {digest(one.key): one for one in claims.result()}

    @property
    def taken(self) -> set[str]:
        """Rollouts that somebody has claimed."""
        return {one.attempt.rollout_id for one in self._claims.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, again = await _whole(receive)
        claim, what = self._claim(scope, body), _what(scope["path"])
        if claim is None or what is None:
            await self.app(scope, again, send)
        elif what == "model":
            await self._model(claim, scope, again, send)
        else:
            self._see(what, claim, await self._passed(scope, again, send))

    def _claim(self, scope: Scope, body: bytes) -> Claim | None:
        """Whose rollout a request is about."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = str(scope["path"])
        key = path.split("/")[2] if path.startswith("/s/") else key_of(headers)
        for name in (digest(key), headers.get(TRAJECTORY, "")):
            if name in self._claims:
                return self._claims[name]
        named = path.rpartition("/")[2].partition(":")[0] or _trajectory(body)
        claims = [one for one in self._claims.values() if one.attempt.rollout_id == named]
        return self._claims.get(_trajectory(body)) or (claims[-1] if claims else None)

    async def _model(self, claim: Claim, scope: Scope, receive: Receive, send: Send) -> None:
        attempt = claim.attempt
        trap = attempt.rollout_id
        self._calls[trap, attempt.number] += 1
        first = self._calls[trap, attempt.number] == 1
        if trap == "busy" and first:
            await _reply(send, 429, "busy", {"retry-after": str(WAIT), AMAZONS: f"{WAIT}000"})
            self._see("model", claim, 429)
        elif trap == "dropped" and first:
            await self._passed(scope, receive, _nobody)
            await _reply(send, 502, "the reply was lost on its way", {})
            self._see("model", claim, 502)
        else:
            status = await self._passed(scope, receive, send)
            self._see("model", claim, status)
            if trap == "sealed" and first:
                await asyncio.wrap_future(self.journal.seal(attempt.id, "aborted"))
            if trap == "expired" and first and attempt.number == 1:
                await asyncio.wrap_future(self.journal.lost(attempt.id, heard=True))

    async def _passed(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self.app(scope, receive, told)
        return status

    def _see(self, what: str, claim: Claim, status: int) -> None:
        self.seen.append(Seen(time.monotonic(), what, claim.attempt.rollout_id, claim.attempt.number, status))

    def of(self, rollout: str, what: str, attempt: int = 1) -> Iterator[Seen]:
        """Calls of one kind in one attempt."""
        return (one for one in self.seen if (one.rollout, one.what, one.attempt) == (rollout, what, attempt))


def _what(path: str) -> str | None:
    if path.endswith(MODEL):
        return "model"
    return next((what for what, ends in ENDS.items() if path.endswith(ends)), None)


def _trajectory(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    return str(told.get("TrajectoryId", "")) if isinstance(told, dict) else ""


async def _whole(receive: Receive) -> tuple[bytes, Receive]:
    """The body, and a `receive` that gives it again."""
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"".join(pieces)
    pending: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return body, again


async def _nobody(message: Message) -> None:
    """What is sent here is lost."""


async def _reply(send: Send, status: int, message: str, headers: Mapping[str, str]) -> None:
    body = json.dumps({"error": {"message": message, "type": "server_error", "param": None, "code": None}}).encode()
    told = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    listed = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
