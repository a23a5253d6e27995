"""One request at work: its answers are submitted, read, cut at stop strings, watched, and freed whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Busy, Request, Sampling, Service, Ticket, Token, TooFewTokens, UnusableGrammar
from bloomery.serve.errors import Refusal, busy, refused
from bloomery.serve.policy.decision import Decision, Watch
from bloomery.serve.policy.watch import PolicyWatch
from bloomery.serve.text import Decoding, Stops

Finish = Literal["stop", "length", "content_filter"]
SILENCE = 10.0
"""Seconds without a token after which a stream says that it is alive: proxies cut at 60 s, some at 30."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one request wants: `count` answers to each prompt; `watch` makes a policy's watch over one answer."""

    prompts: Sequence[Sequence[int]]
    sampling: Sampling
    count: int = 1
    stops: tuple[str, ...] = ()
    adapter: str = ""
    watch: Callable[[], Watch] | None = None
    tells: bool = False
    """Whether anybody wants to know of the tokens."""
    inspect: Callable[[Sequence[Any]], tuple[Decision, list[Any]]] | None = None
    """What the policy says to JSON values that an answer gives to functions, and what it leaves of them."""
    form: str | None = None
    """The parameter that the grammar came from."""
    limit: str = "max_tokens"
    """The parameter of the most tokens."""

    @property
    def answers(self) -> int:
        """How many in all."""
        return len(self.prompts) * self.count


@dataclass(slots=True)
class Delta:
    """What is new in answer `index`: text that may be shown, tokens whose text begins in it, and why it ended."""

    index: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: Finish | None = None


class Run:
    """Answers of one request. `close` must follow `start`, however it ends."""

    def __init__(self, service: Service, tokenizer: Any, work: Work, seconds: float) -> None:
        self.work = work
        self.began = time.monotonic()
        self.first: float | None = None  # seconds to the first token
        self.decisions: list[Decision] = []
        self._service = service
        self._until = self.began + seconds
        self._inbox = _Inbox(asyncio.get_running_loop())
        self._choices = [_Choice(i, tokenizer, work) for i in range(work.answers)]
        self._tickets: list[Ticket] = []
        self.when_closed: Callable[[Run], None] | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompts, each counted once."""
        return sum(map(len, self.work.prompts))

    @property
    def completion_tokens(self) -> int:
        """Tokens sampled for what was answered, stop tokens included."""
        return sum(choice.count for choice in self._choices)

    async def start(self) -> None:
        """Submit everything. Raises `Refusal`: 400 for what the engine cannot use, 429 when it is full."""
        try:
            if self.work.sampling.grammar is None:
                self._submit()
            else:  # compiling it takes time that others need not wait for
                await asyncio.to_thread(self._submit)
        except Busy:
            self.close()
            raise busy("the engine's queue is full") from None
        except TooFewTokens as error:
            self.close()
            message = f"`{self.work.limit}`: the shortest answer of this form has {error.least} tokens"
            message += f", and there is room for {error.limit}"
            raise Refusal(400, message, param=self.work.limit, code="invalid_value") from None
        except InputError as error:
            self.close()
            raise refused(error, self.work.form if isinstance(error, UnusableGrammar) else None) from None
        except BaseException:
            self.close()
            raise

    def _submit(self) -> None:
        count = self.work.count
        for index in range(self.work.answers):
            request = Request(self.work.prompts[index // count], self.work.sampling, self.work.adapter, index % count)
            self._tickets.append(self._service.submit(request, self._inbox.teller(index)))

    def close(self) -> None:
        """Free what is still held. Harmless when repeated."""
        for ticket in self._tickets:
            ticket.cancel()
        told, self.when_closed = self.when_closed, None
        if told:
            told(self)

    async def deltas(self) -> AsyncIterator[Delta | None]:
        """What is new, answer by answer, until all have ended; None after a silence.

        Raises `Refusal`: 500 when the engine failed, 503 when it was stopped, 504 after the deadline.
        """
        while any(choice.finish is None for choice in self._choices):
            if time.monotonic() > self._until:
                headers = {"x-should-retry": "false"}  # openai's clients would send the same long request again
                raise Refusal(504, "the answer took too long", code="deadline_exceeded", headers=headers)
            found = await self._inbox.get(min(SILENCE, max(0.0, self._until - time.monotonic())))
            if found and self.first is None:
                self.first = time.monotonic() - self.began
            if not found:
                yield None
            for index, tokens in found.items():
                delta = await self._read(self._choices[index], tokens)
                if delta.text or delta.tokens or delta.finish:
                    yield delta

    async def _read(self, choice: _Choice, tokens: Sequence[Token]) -> Delta:
        if choice.finish is not None:
            return Delta(choice.index)
        delta = choice.read(tokens)
        if choice.watch is not None:
            delta = await self._watched(choice, delta)
        choice.finish = delta.finish
        if delta.finish:
            self._tickets[choice.index].cancel()
        return delta

    async def _watched(self, choice: _Choice, delta: Delta) -> Delta:
        """What the policy lets through; a guard may ask a judge, so it gets a thread."""
        assert choice.watch is not None
        quick, text, delta.text = choice.exact is not None and choice.exact.quick, delta.text, ""
        steps = [lambda: choice.watch.feed(text)] if text else []  # type: ignore[union-attr]
        for step in [*steps, choice.watch.finish] if delta.finish else steps:
            released, decision = step() if quick else await asyncio.to_thread(step)
            delta.text += released
            if decision is not None:
                self.decisions.append(decision)
                if decision.action == "block":
                    delta.tokens = choice.passed(delta, blocked=True)
                    delta.text, delta.finish = delta.text + decision.text, "content_filter"
                    return delta
        delta.tokens = choice.passed(delta)
        return delta

    async def inspected(self, values: Sequence[Any]) -> tuple[Decision, list[Any]]:
        """What the policy says to an answer's arguments of functions, and the values as it leaves them."""
        if self.work.inspect is None:
            return Decision("allow"), list(values)
        decision, kept = await asyncio.to_thread(self.work.inspect, values)
        if decision.action != "allow":
            self.decisions.append(decision)
        return decision, kept


class Blocked:
    """The answers of a request that a policy does not let through: `text`, and no token spent."""

    def __init__(self, work: Work, decision: Decision) -> None:
        self.work, self.decisions = work, [decision]
        self.prompt_tokens, self.completion_tokens = sum(map(len, work.prompts)), 0

    def close(self) -> None:
        """Nothing is held."""

    async def inspected(self, values: Sequence[Any]) -> tuple[Decision, list[Any]]:
        """Nothing is called."""
        return Decision("allow"), list(values)

    async def deltas(self) -> AsyncIterator[Delta | None]:
        """One a choice."""
        for index in range(self.work.answers):
            yield Delta(index, self.decisions[0].text, finish="content_filter")


class _Inbox:
    """Tokens from the engine's thread, taken together: the loop is woken once for all that came meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._event = loop, asyncio.Event()
        self._items: deque[tuple[int, Token]] = deque()
        self._woken = False

    def teller(self, index: int) -> Callable[[Token], None]:
        """The function that takes tokens of answer `index`."""

        def told(token: Token) -> None:
            self._items.append((index, token))
            if not self._woken:
                self._woken = True
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    self._loop.call_soon_threadsafe(self._event.set)

        return told

    async def get(self, seconds: float) -> dict[int, list[Token]]:
        """Tokens by answer, at least one; empty after so many seconds without any."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return {}
        self._event.clear()
        self._woken = False
        found: dict[int, list[Token]] = {}
        while self._items:
            index, token = self._items.popleft()
            found.setdefault(index, []).append(token)
        return found


class _Choice:
    """One answer as it is read."""

    def __init__(self, index: int, tokenizer: Any, work: Work) -> None:
        self.index = index
        self.watch = work.watch() if work.watch else None
        self.exact = self.watch if isinstance(self.watch, PolicyWatch) else None
        self.tells = work.tells
        self.finish: Finish | None = None
        self.count = 0
        self._decoding, self._stops = Decoding(tokenizer), Stops(work.stops)
        self._decoded = self._released = 0  # characters
        self._untold: list[tuple[int, Token]] = []  # where its text begins, and a token that was not told
        self._kept: list[tuple[int, Token]] = []  # the same of tokens that the watch holds

    def read(self, tokens: Sequence[Token]) -> Delta:
        """What these tokens add."""
        text, finish, hit = "", None, False
        for token in tokens:
            if token.ended in ("error", "cancelled"):
                raise _failed(token)
            self.count += token.id >= 0
            shown = token.id >= 0 and token.ended != "stop"  # a stop token has no text
            if shown:
                self._untold.append((self._decoded, token))
            piece = self._decoding.add(token.id) if shown else ""
            piece += self._decoding.finish() if token.ended else ""
            self._decoded += len(piece)
            released, hit = self._stops.feed(piece)
            text += released
            if hit or token.ended:
                text += "" if hit else self._stops.finish()
                finish = "stop" if hit else token.ended
                break
        self._released += len(text)
        whole = finish is not None and not hit
        told = [one for one in self._untold if whole or one[0] < self._released]
        self._untold = self._untold[len(told) :]
        self._kept += told if self.exact and self.tells else []
        return Delta(self.index, text, [token for _, token in told], finish)  # type: ignore[arg-type]

    def passed(self, delta: Delta, blocked: bool = False) -> list[Token]:
        """Tokens whose text the policy has let through; those of what it hides are told to nobody."""
        if self.exact is None or not self.tells:
            return delta.tokens if self.exact is None else []
        found, ended = [], delta.finish is not None and not blocked
        while self._kept:
            at, token = self._kept[0]
            later = (begin for begin, _ in (*self._kept, *self._untold) if begin > at)
            end = next(later, self._decoded)
            if not ended and (end > self.exact.passed or end == at):
                break
            self._kept.pop(0)
            if not self.exact.hides(at, max(end, at + 1)):
                found.append(token)
        return found


def _failed(token: Token) -> Refusal:
    if token.ended == "cancelled":
        return Refusal(503, "the server is stopping", code="unavailable", headers={"retry-after": "5"})
    return Refusal(500, "the engine failed at this request", code="engine_error")
