"""What all routes share: the model that is served, the engine behind it, the queue before it and the policy over it."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Sampling, Service
from bloomery.serve.errors import Refusal, refused
from bloomery.serve.gate import Gate, Place
from bloomery.serve.limits import Limits
from bloomery.serve.metrics import Metrics
from bloomery.serve.policy.decision import Decision, Guard
from bloomery.serve.policy.guard import PolicyGuard
from bloomery.serve.policy.load import floor_guard
from bloomery.serve.run import Blocked, Run, Work
from bloomery.serve.wire.request import Sampled

Log = Callable[[dict[str, Any]], None]


class Prompting(Protocol):
    """Turns conversations and texts into ids as training and evaluation do; calls come from one thread at a time."""

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> list[int]:
        """Ids of a conversation up to where the assistant answers. Raises `InputError` for one it cannot render."""
        ...

    def text(self, text: str) -> list[int]:
        """Ids of a plain text as documents begin; special tokens in it are plain characters."""
        ...


class Stats(Protocol):
    """What an engine is doing."""

    running: int
    waiting: int
    cache_used: int
    cache_resting: int
    cache_total: int


class Engine(Service, Protocol):
    """A service that also embeds, holds adapters and changes its weights while it runs."""

    @property
    def adapters(self) -> Sequence[str]: ...

    def load_adapter(self, name: str, folder: Path) -> None: ...

    def embed(self, texts: Sequence[Sequence[int]], /) -> Sequence[Any]: ...

    def swap(self, loaded: Any) -> None: ...

    def stats(self) -> Any: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Model:
    """What is served under `name`; `fingerprint` changes with the weights, `created` is seconds since the epoch."""

    name: str
    prompting: Prompting
    tokenizer: Any
    created: int
    fingerprint: str


class Desk:
    """State of one server. Without a guard, the floor that lies under every policy guards it."""

    def __init__(
        self, service: Engine, model: Model, limits: Limits, guard: Guard | None = None, log: Log = lambda event: None
    ) -> None:
        self.service, self.model, self.limits, self.log = service, model, limits, log
        self.guard = floor_guard(log) if guard is None else guard
        self.gate = Gate(limits)
        self.metrics = Metrics(self._gauges)
        self.draining = self.hurried = False
        self._rendering = threading.Lock()

    def adapter(self, name: str) -> str:
        """The adapter that a request's `model` names, empty for the model itself. Raises `Refusal` 404."""
        if name == self.model.name:
            return ""
        if name in self.service.adapters:
            return name
        raise Refusal(404, f"there is no model `{name}`; see /v1/models", param="model", code="model_not_found")

    def place(self, count: int) -> AbstractAsyncContextManager[Place]:
        """Room for `count` answers, taken before any work is done for them. Raises `Refusal`."""
        if self.draining:
            raise Refusal(503, "the server is stopping", code="unavailable", headers={"retry-after": "5"})
        return self.gate.place(count)

    async def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> list[int]:
        """Ids of a conversation. Raises `Refusal` for one that cannot be rendered or leaves no room for an answer."""
        return self._fits(await self._rendered(lambda: self.model.prompting.prompt(messages, tools)), "messages")

    def rendered(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The same in the thread that calls. Raises `InputError` for a conversation that cannot be rendered."""
        with self._rendering:
            return self.model.prompting.prompt(messages)

    async def text(self, text: str, param: str) -> list[int]:
        """Ids of a text that came as `param`, in the same way."""
        return self._fits(await self._rendered(lambda: self.model.prompting.text(text)), param)

    def ids(self, ids: Sequence[int], param: str) -> list[int]:
        """Ids that a client sent itself, if the model has them."""
        most = len(self.model.tokenizer)
        if any(token >= most for token in ids):
            raise Refusal(400, f"`{param}` holds a token beyond the {most:,} of the vocabulary", param=param)
        return self._fits(list(ids), param)

    async def _rendered(self, render: Callable[[], list[int]]) -> list[int]:
        def alone() -> list[int]:
            with self._rendering:
                return render()

        try:
            return await asyncio.to_thread(alone)
        except InputError as error:
            raise refused(error, "messages") from None

    def _fits(self, ids: list[int], param: str) -> list[int]:
        if 0 < len(ids) < self.service.context:
            return ids
        if not ids:
            raise Refusal(400, f"`{param}` is empty", param=param, code="invalid_value")
        message = f"`{param}` has {len(ids):,} tokens; the context holds {self.service.context:,} with the answer"
        raise Refusal(400, message, param=param, code="context_length_exceeded")

    async def checked(self, messages: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Mapping[str, Any]], Decision]:
        """The messages as the model may read them, and what the policy says to them."""
        decision = await asyncio.to_thread(self.guard.check_input, messages)
        self.decided("input", decision)
        if decision.action not in ("mask", "review"):
            return messages, decision
        if masked := getattr(self.guard, "masked", None):  # a guard that masks earlier turns too
            return await asyncio.to_thread(masked, messages), decision
        last = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=None)
        if not decision.text or last is None:
            return messages, decision
        changed = {**messages[last], "content": decision.text}
        return [*messages[:last], changed, *messages[last + 1 :]], decision

    def guarded(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How a request's answers are guarded, as `Work` has it."""
        guard = self.guard
        return {"watch": lambda: guard.watch(messages), "inspect": getattr(guard, "inspected", None)}

    @property
    def exact(self) -> bool:
        """Whether it is known which tokens an answer's policy hides."""
        return isinstance(self.guard, PolicyGuard)

    @property
    def guarded_by(self) -> str:
        """What guards: `floor`, `floor and policy`, or `own` for a guard that a program passed."""
        return self.guard.name if isinstance(self.guard, PolicyGuard) else "own"

    async def begin(self, work: Work, verdict: Decision, place: Place) -> Run | Blocked:
        """Submit a request that has its place, and keep it until the run is closed. Raises `Refusal`."""
        if verdict.action == "block":
            return Blocked(work, verdict)
        run = Run(self.service, self.model.tokenizer, work, self.limits.request_seconds)
        run.when_closed = lambda run: self._over(run, place)
        place.kept = True
        await run.start()
        return run

    def _over(self, run: Run, place: Place) -> None:
        place.free()
        self.metrics.prompt_tokens.inc(run.prompt_tokens)
        self.metrics.completion_tokens.inc(run.completion_tokens)
        if run.first is not None:
            self.metrics.first.observe(run.first)
        for decision in run.decisions:
            self.decided("output", decision)

    def decided(self, side: str, decision: Decision) -> None:
        """Count what a policy decided; the guard itself writes the log, with its reasons."""
        self.metrics.decisions.labels(side, decision.action, decision.category).inc()

    def _gauges(self) -> dict[str, float]:
        stats = self.service.stats()
        return {
            "requests_waiting": self.gate.waiting,
            "answers_running": self.gate.taken,
            "engine_running": stats.running,
            "engine_waiting": stats.waiting,
            "cache_used": stats.cache_used,
            "cache_resting": stats.cache_resting,
            "cache_total": stats.cache_total,
        }

    def sampling(self, body: Sampled, most: int | None, longest: int, **more: Any) -> Sampling:
        """How to sample, of a request's parameters; an answer is cut where the context ends (`longest` prompt)."""
        room = self.service.context - longest
        seed = secrets.randbelow(1 << 31) if body.seed is None else body.seed % (1 << 63)
        names = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        given = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
        bias = self._bias(getattr(body, "logit_bias", None) or {})
        temperature = 1.0 if body.temperature is None else body.temperature
        try:
            return Sampling(
                min(most or room, room), temperature=temperature, seed=seed, logit_bias=bias, **given, **more
            )
        except InputError as error:
            raise refused(error) from None

    def _bias(self, bias: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
        most = len(self.model.tokenizer)
        if not all(key.isascii() and key.isdecimal() and int(key[:9]) < most and len(key) < 9 for key in bias):
            message = f"`logit_bias`: keys are token ids, 0 to {most - 1:,}, as strings"
            raise Refusal(400, message, param="logit_bias", code="invalid_value")
        return tuple((int(key), value) for key, value in bias.items())


def stops_of(body: Sampled) -> tuple[str, ...]:
    """The strings at which an answer ends."""
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
