"""A service that answers by a script, so that tests of the endpoint know every token; and the model in front of it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx2

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.engine.protocol import Busy, Request, Token
from bloomery.evals.prompts import Prompter
from bloomery.models.load import load_tokenizer
from bloomery.serve.access import Access
from bloomery.serve.app import make_app
from bloomery.serve.desk import Desk, Model
from bloomery.serve.limits import Limits

TOKEN = "test-token"
ADMIN = "admin-token"


@lru_cache(maxsize=1)
def ember_tokenizer() -> Any:
    """Ember's, loaded once a process."""
    return load_tokenizer(families_dir() / "ember" / "tokenizer")


@lru_cache(maxsize=1)
def prompter() -> Prompter:
    """One for all, since its chat template runs in a process of its own."""
    return Prompter(ember_tokenizer(), "auto")


@dataclass
class Stats:
    running: int = 0
    waiting: int = 0
    cache_used: int = 0
    cache_resting: int = 25
    cache_total: int = 100


@dataclass
class Held:
    """A request that was taken in: `tell` it tokens, or see that it was cancelled."""

    request: Request
    told: Callable[[Token], None]
    cancelled: bool = False
    ended: bool = False

    def cancel(self) -> None:
        if not self.ended:
            self.cancelled = self.ended = True
            self.told(Token(-1, 0.0, ended="cancelled"))

    def tell(self, token: Token) -> None:
        if not self.ended:
            self.ended = token.ended is not None
            self.told(token)


class Scripted:
    """Answers every request with `answer(request)`, a token every `pause` seconds, in a thread of its own.

    `answer` gives text, or ids; None leaves the request open for the test to tell.
    """

    def __init__(self, answer: Callable[[Request], Any] = lambda request: "Hello there.", pause: float = 0.0) -> None:
        self.tokenizer = ember_tokenizer()
        self.answer, self.pause = answer, pause
        self.held: list[Held] = []
        self.full = False
        self.context = 1024
        self.adapters: list[str] = ["polite"]
        self.swapped: list[Any] = []

    def submit(self, request: Request, told: Callable[[Token], None]) -> Held:
        if self.full:
            raise Busy
        if not 0 < len(request.prompt) < self.context:
            raise InputError("the prompt leaves no room")
        held = Held(request, told)
        self.held.append(held)
        found = self.answer(request)
        if found is not None:
            ids = self.tokenizer(found, add_special_tokens=False)["input_ids"] if isinstance(found, str) else found
            tokens = self._tokens(ids, request)
            if self.pause:
                threading.Thread(target=self._slowly, args=(held, tokens), daemon=True).start()
            else:
                for token in tokens:
                    held.tell(token)
        return held

    def _tokens(self, ids: Sequence[int], request: Request) -> list[Token]:
        most = request.sampling.max_new_tokens
        top = tuple((token, -1.0 - token) for token in range(request.sampling.top_logprobs))
        tokens = [Token(token, -0.5, top) for token in ids[:most]]
        if len(ids) >= most:
            return [*tokens[:-1], Token(tokens[-1].id, -0.5, top, "length")]
        return [*tokens, Token(self.tokenizer.eos_token_id or 0, -0.1, top, "stop")]

    def _slowly(self, held: Held, tokens: Sequence[Token]) -> None:
        for token in tokens:
            time.sleep(self.pause)
            held.tell(token)

    def load_adapter(self, name: str, folder: Path) -> None:
        self.adapters.append(name)

    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[float(len(prompt)), 1.0, 2.0] for prompt in prompts]

    def swap(self, loaded: Any) -> None:
        self.swapped.append(loaded)

    def stats(self) -> Stats:
        return Stats(running=sum(not held.ended for held in self.held))

    @property
    def open(self) -> list[Held]:
        """Requests that hold a place in the engine."""
        return [held for held in self.held if not held.ended]


@dataclass
class Stage:
    """A scripted service behind the real endpoint."""

    service: Scripted = field(default_factory=Scripted)
    limits: Limits = field(default_factory=lambda: Limits(body_seconds=5, patience=0.2))
    guard: Any = None
    swap: Any = None
    access: Access = field(default_factory=lambda: Access(TOKEN, ADMIN, hosts=("localhost", "127.0.0.1")))

    def __post_init__(self) -> None:
        tokenizer = self.service.tokenizer
        self.model = Model("ember", prompter(), tokenizer, 1_700_000_000, "fp_test")
        self.desk = Desk(self.service, self.model, self.limits, self.guard)
        self.app = make_app(self.desk, self.access, self.swap)

    def client(self, token: str | None = TOKEN, **options: Any) -> httpx2.AsyncClient:
        """A client that reaches the app without a socket."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx2.ASGITransport(self.app)  # type: ignore[arg-type]
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        """One request."""

        async def go() -> httpx2.Response:
            async with self.client(**options) as client:
                return await client.post(path, json=body)

        return asyncio.run(go())

    def get(self, path: str, token: str | None = TOKEN, headers: dict[str, str] | None = None) -> httpx2.Response:
        """One request."""

        async def go() -> httpx2.Response:
            async with self.client(token) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(go())


ASKED: dict[str, Any] = {"model": "ember", "messages": [{"role": "user", "content": "Hello?"}]}


def ask(stage: Stage, **fields: Any) -> Any:
    """The answer to a chat request."""
    found = stage.post("/v1/chat/completions", ASKED | fields)
    assert found.status_code == 200, found.text
    return found.json()


def chunks(stage: Stage, path: str = "/v1/chat/completions", **fields: Any) -> list[Any]:
    """Events of a stream, its `[DONE]` checked and left out."""
    found = stage.post(path, ASKED | {"stream": True} | fields)
    assert found.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in found.text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def said(told: list[Any], index: int = 0) -> str:
    """The text of a stream's chunks."""
    deltas = [choice for chunk in told for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in deltas)
