"""One attempt as the gateway holds it, and a call to the model in it: answered, journaled, and only then replied to."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Sampling, Service
from bloomery.rl.bridge import Bridge, Opening
from bloomery.rl.dialects import Spoken, written
from bloomery.rl.forced import Forced
from bloomery.rl.journal import Journal
from bloomery.rl.sampling import Sampled, sample
from bloomery.rl.tables import Attempt, Sent
from bloomery.rl.turns import Tree, Turn
from bloomery.rl.valve import Valve
from bloomery.serve.desk import Model, stops_of
from bloomery.serve.errors import Refusal, refused
from bloomery.serve.gate import Gate
from bloomery.serve.tools import plain

Result = TypeVar("Result")


@dataclass
class Session:
    """An attempt with what it has said. `replies` are those sent, and `calls` those under way, by what identifies a
    repeated request."""

    attempt: Attempt
    tree: Tree
    replies: dict[str, Sent] = field(default_factory=dict)
    calls: dict[str, asyncio.Task[Sent]] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: int = 0
    """Calls so far: each samples with a seed of its own."""
    used: float = field(default_factory=time.monotonic)
    """When it was asked for last."""

    def keep(self, sent: Sent) -> None:
        """Remember a reply."""
        self.replies[sent.digest] = sent
        if sent.idempotency:
            self.replies[sent.idempotency] = sent


class Speaker:
    """Answers calls to the model. `service` and `model` are what is trained; the parts outlive any one session."""

    def __init__(
        self, service: Service, model: Model, bridge: Bridge, journal: Journal, forced: Forced, gate: Gate, valve: Valve
    ) -> None:
        self.service, self.model, self.journal, self.forced, self.valve = service, model, journal, forced, valve
        self._bridge, self._gate = bridge, gate
        self._rendering = threading.Lock()

    async def call(self, session: Session, spoken: Spoken, headers: Mapping[str, str]) -> Sent:
        """The reply to a request. One that is repeated gets the first one's: clients send again what they lost.

        The answer is worked out and journaled even if the client hangs up, for the next try.
        """
        digest, given = spoken.digest, headers.get("idempotency-key")
        key = f"key {given}" if given else None
        again = key or (digest if headers.get("x-stainless-retry-count", "0") != "0" else None)
        if again in session.calls:
            return await asyncio.shield(session.calls[again])
        if again in session.replies:
            return _same(session.replies[again], digest)
        task = asyncio.ensure_future(self._answered(session, spoken, key))
        for name in filter(None, (digest, key)):
            session.calls[name] = task
        task.add_done_callback(lambda task: _over(session, task))
        return await asyncio.shield(task)

    async def _answered(self, session: Session, spoken: Spoken, key: str | None) -> Sent:
        await asyncio.wrap_future(self.journal.begin(session.attempt.id))
        try:
            opening = await self._opened(session.tree, spoken)
            sampling = self._sampling(session, spoken, len(opening.prompt))
            async with self._gate.place(1), self.valve.through() as version:
                sampled = await self._sampled(spoken, opening, sampling)
            body, media, name = await written(spoken, sampled, self.model)
            sent = Sent(name, spoken.digest, key, body, media)
            await self._record(session, opening, sampled, version, sent)
            return sent
        except BaseException:
            self.journal.failed(session.attempt.id)
            raise

    async def _opened(self, tree: Tree, spoken: Spoken) -> Opening:
        chat = spoken.chat
        used = [] if chat.tool_choice == "none" else chat.tools or []
        messages = [plain(message) for message in chat.messages]
        tools = [tool.model_dump(exclude_none=True) for tool in used]
        try:
            opening = await asyncio.to_thread(self._alone, lambda: self._bridge.opening(tree, messages, tools))
        except InputError as error:
            raise refused(error, "messages") from None
        if len(opening.prompt) >= self.service.context:
            message = f"the conversation has {len(opening.prompt):,} tokens; the context holds {self.service.context:,}"
            raise Refusal(400, f"{message} with the answer", param="messages", code="context_length_exceeded")
        return opening

    def _alone(self, work: Callable[[], Result]) -> Result:
        with self._rendering:
            return work()

    def _sampling(self, session: Session, spoken: Spoken, prompt: int) -> Sampling:
        chat, attempt = spoken.chat, session.attempt
        number = f"{self.forced.seed}:{attempt.rollout_id}:{attempt.number}:{session.asked}"
        session.asked += 1
        seed = int.from_bytes(hashlib.sha256(number.encode()).digest()[:4], "big") >> 1
        left = self.journal.terms.tokens - session.tree.sampled_tokens
        most = chat.max_completion_tokens or chat.max_tokens or self.forced.max_tokens
        most = max(1, min(most, self.forced.max_tokens, self.service.context - prompt, left))
        top = (chat.top_logprobs or 0) if chat.logprobs else 0
        return Sampling(most, temperature=self.forced.temperature, seed=seed, top_logprobs=top)

    async def _sampled(self, spoken: Spoken, opening: Opening, sampling: Sampling) -> Sampled:
        chat = spoken.chat
        tools = [] if chat.tool_choice == "none" else chat.tools or []
        return await sample(
            self.service, self.model.tokenizer, opening.prompt, sampling,
            stops=stops_of(chat), tools=tools, seconds=self._gate.limits.request_seconds,
        )  # fmt: skip

    async def _record(self, session: Session, opening: Opening, sampled: Sampled, version: int, sent: Sent) -> None:
        """Journal the turn. One at a time in a session, since turns are numbered."""
        place, tree = opening.place, session.tree
        async with session.turn:
            kind = tree.kind_after(place.parent) if place.kind == "clean" else place.kind
            turn = Turn(
                len(tree.turns), place.parent, kind, place.added, opening.tools, opening.bridge, sampled.ids,
                sampled.logp, version, sampled.heard.finish or "stop", sampled.reply,
            )  # fmt: skip
            await asyncio.wrap_future(self.journal.record(session.attempt.id, turn, sent))
            tree.add(turn)
            session.keep(sent)


def _same(sent: Sent, digest: str) -> Sent:
    if sent.digest != digest:
        message = "the idempotency key was used for another request"
        raise Refusal(409, message, code="idempotency_conflict", headers={"x-should-retry": "false"})
    return sent


def _over(session: Session, task: asyncio.Task[Any]) -> None:
    for name in [name for name, other in session.calls.items() if other is task]:
        del session.calls[name]
    if not task.cancelled():
        task.exception()  # looked at, since nobody may be waiting any more
