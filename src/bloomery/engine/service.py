"""An engine that runs by itself, in a thread: what the endpoint and the rollouts of other processes talk to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.rows import Floats, TokenRow
from bloomery.engine.batch import RaggedBatch
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Busy, Request, Ticket, Token
from bloomery.engine.running import Running
from bloomery.engine.scheduler import Scheduler
from bloomery.models.load import Loaded

_log = logging.getLogger("bloomery.engine")
MOST_WAITING = 256
"""Requests that may wait for a place before others are turned away."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a service does now and has done. The cache in bytes of keys and values: `used` by what runs, `resting` for
    next turns and given up as soon as the room is needed, and all there may be."""

    running: int
    waiting: int
    requests: int
    prompt_tokens: int
    tokens_out: int
    seconds_busy: float
    cache_used: int
    cache_resting: int
    cache_total: int


class _Model:
    """One set of weights with its requests; an older one goes on until its last request has ended."""

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine
        self.scheduler: Scheduler = engine.scheduler()


class NativeService:
    """A `Service` in this process. `memory` in bytes bounds keys and values of each set of weights."""

    def __init__(
        self, loaded: Loaded, *, memory: int | None = None, most_waiting: int = MOST_WAITING, rows: int | None = None
    ) -> None:
        self._memory, self._most_waiting, self._rows = memory, most_waiting, rows
        self._models = [self._opened(loaded)]
        self._folders: dict[str, Path] = {}
        self._wake = threading.Condition()
        self._work = threading.Lock()
        """Held for every forward: one model tree, one thread in it at a time."""
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._requests = self._prompt_tokens = self._tokens = 0
        self._busy = 0.0

    def start(self) -> None:
        """Begin to answer."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="bloomery-engine")
        self._thread.start()

    def stop(self) -> None:
        """End all requests and the thread. Safe to call twice."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def submit(self, request: Request, told: Callable[[Token], None]) -> Ticket:
        """Take in a request; see `Service.submit`."""
        while True:
            model = self._models[-1]
            running = model.engine.accept(request, self._counted(told), model.scheduler.backend.fits)
            with self._wake:
                if self._stopping or self._thread is None:
                    raise Busy("the engine is not running")
                if model is self._models[-1]:
                    return self._taken(model, running)
            # other weights since then: whether they have the adapter and the room is theirs to say

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        return self._models[-1].engine.context

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        return self._models[-1].engine.adapters.names

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load an adapter in PEFT's layout, which requests may then name; a loaded one of that name is replaced."""
        with self._work:
            self._models[-1].engine.adapters.load(name, folder)
            self._models[-1].scheduler.backend.forget()
        self._folders[name] = folder

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter. Raises `InputError` for one that is not there, or that is in use."""
        with self._work, self._wake:  # neither a step nor a new request meanwhile
            plans = [model.scheduler for model in self._models]
            known = [one for plan in plans for one in (*[*plan.coming], *plan.waiting, *plan.backend.running)]
            if any(one.request.adapter == name for one in known):
                raise InputError(f"the adapter `{name}` is answering requests", fix="try again when they have ended")
            self._models[-1].engine.adapters.drop(name)
            self._models[-1].scheduler.backend.forget()
        self._folders.pop(name, None)

    def swap(self, loaded: Loaded) -> None:
        """Answer new requests with other weights; running ones end with those they began with."""
        model = self._opened(loaded)
        for name, folder in self._folders.items():
            model.engine.adapters.load(name, folder)
        with self._wake:
            self._models.append(model)
            self._wake.notify_all()

    def forget(self) -> None:
        """The weights have changed in place: no turn goes on from one that has ended."""
        with self._work:
            for model in self._models:
                model.scheduler.backend.forget()

    def score(self, rows: Sequence[TokenRow]) -> list[Floats]:
        """Log-probabilities of given tokens; see `Engine.score`."""
        with self._work:
            return self._models[-1].engine.score(rows)

    def embed(self, texts: Sequence[Sequence[int]]) -> list[Floats]:
        """float32[H] for each text; see `NativeEngine.embed`."""
        with self._work:
            return self._models[-1].engine.embed(texts)

    def stats(self) -> Stats:
        """What it does now and has done."""
        models = [*self._models]
        backends = [model.scheduler.backend for model in models]
        ragged = [backend for backend in backends if isinstance(backend, RaggedBatch)]
        resting = sum(one.resting for one in ragged)
        return Stats(
            running=sum(len(backend.running) for backend in backends),
            waiting=sum(model.scheduler.queued for model in models),
            requests=self._requests,
            prompt_tokens=self._prompt_tokens,
            tokens_out=self._tokens,
            seconds_busy=self._busy,
            cache_used=max(0, sum(one.slots.used for one in ragged) - resting),  # rows go on changing meanwhile
            cache_resting=resting,
            cache_total=sum(one.slots.budget for one in ragged),
        )

    def _opened(self, loaded: Loaded) -> _Model:
        return _Model(NativeEngine(loaded, batch_rows=self._rows, memory=self._memory, keep=True))

    def _counted(self, told: Callable[[Token], None]) -> Callable[[Token], None]:
        """With its tokens counted. One that raises, which it must not, hears no more: others are being answered."""
        hears = told

        def count(token: Token) -> None:
            nonlocal hears
            self._tokens += token.id >= 0
            try:
                hears(token)
            except Exception:
                hears = _deaf
                _log.exception("a program that was told a token failed; it is told no more")

        return count

    def _taken(self, model: _Model, running: Running) -> Running:
        """Put a request that was accepted with a model into its queue."""
        model.engine.adapters.check(running.request.adapter)  # it may have been dropped since then
        # What is only now being taken in has a place: the queue is for what comes beyond it.
        if model.scheduler.queued >= self._most_waiting + self._free(model):
            raise Busy(f"{model.scheduler.queued} requests wait already")
        self._requests += 1
        self._prompt_tokens += len(running.prompt)
        model.scheduler.coming.append(running)
        self._wake.notify_all()
        return running

    def _free(self, model: _Model) -> int:
        return max(0, model.engine.batch_rows - len(model.scheduler.backend.running))

    def _run(self) -> None:
        while not self._stopping:
            models = self._awaited()
            while models:  # and none is left in a variable here: an older one goes while nothing is asked
                self._step(models.pop(0))
        for model in self._models:
            model.scheduler.abandon("the engine was stopped")

    def _awaited(self) -> list[_Model]:
        """All sets of weights as soon as one has something to do, without older ones that have ended."""
        with self._wake:
            while True:
                self._models = [m for m in self._models[:-1] if m.scheduler.busy] + self._models[-1:]
                if self._stopping or any(model.scheduler.busy for model in self._models):
                    return [] if self._stopping else [*self._models]
                self._wake.wait()

    def _step(self, model: _Model) -> None:
        began = time.perf_counter()
        with self._work:
            try:
                model.scheduler.step()
            except Exception as error:  # whatever it was, requests must hear of it, and the next ones get their chance
                with self._wake:  # nothing is appended to the one that failed any more
                    model.scheduler, failed = model.engine.scheduler(), model.scheduler
                failed.abandon(f"the engine failed: {type(error).__name__}")
        self._busy += time.perf_counter() - began


def _deaf(_: Token) -> None:
    """Hears nothing."""
