"""Who may ask, from where, and how much: decided before a request is read. Plain ASGI, so a refusal costs little."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bloomery.serve.errors import Refusal, busy
from bloomery.serve.gate import Lobby
from bloomery.serve.limits import BODY

Fields = Mapping[str, str]
"""Headers by name in small letters; of one that stands twice the last counts."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/health",)
"""Asked by load balancers, which have no token; it tells nothing but that the server runs."""
ADMIN = "/admin/"
QUEUED = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")


@dataclass(frozen=True, slots=True)
class Access:
    """`token` for the API, `admin` for `/admin`, None: nobody; `hosts` by which it may be called, empty: any."""

    token: str | None
    admin: str | None = None
    hosts: Sequence[str] = LOOPBACK
    origins: Sequence[str] = ()
    """Web pages whose scripts may call; none by default."""

    def check(self, path: str, headers: Fields) -> None:
        """Raises `Refusal`: 403 for another host or a web page, 401 without the token."""
        host = _host(headers.get("host", ""))
        if self.hosts and host not in self.hosts:
            # A page of a foreign name that resolves to this machine (DNS rebinding) still sends its own name.
            raise Refusal(403, "the server is not called by this host name", code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins:
            raise Refusal(403, "pages of this origin may not call the server", code="origin_not_allowed")
        if path in OPEN:
            return
        expected = self.admin if path.startswith(ADMIN) else self.token
        if path.startswith(ADMIN) and expected is None:
            raise Refusal(404, "there is no such route", code="not_found")
        if expected is not None and not same(key_of(headers), expected):
            told = {"www-authenticate": "Bearer"}
            raise Refusal(401, "the bearer token is missing or wrong", code="invalid_api_key", headers=told)


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


def key_of(headers: Fields) -> str:
    """The token of a request: as a bearer, or as Anthropic's clients send it; empty for none."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")


def same(given: str, expected: str) -> bool:
    """Compares digests, so that neither content nor length of the token shows in the time taken."""
    one, other = (hashlib.sha256(text.encode()).digest() for text in (given, expected))
    return hmac.compare_digest(one, other)


class Door:
    """The first thing a request meets. Refuses it, or hands the app a body that has arrived whole."""

    def __init__(self, app: ASGIApp, lobby: Lobby, access: Access) -> None:
        self._app, self._lobby, self._access = app, lobby, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        cors = self._cors(headers)

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *cors, *_SAFE]
            await send(message)

        try:
            await self._admitted(scope, headers, receive, told)
        finally:
            route = scope["path"] if scope["path"] in QUEUED else _kind(scope["path"])
            self._lobby.metrics.requests.labels(route, str(status)).inc()
            self._lobby.metrics.seconds.labels(route).observe(time.monotonic() - began)

    async def _admitted(self, scope: Scope, headers: Fields, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "OPTIONS" and headers.get("origin") in self._access.origins:
                await Response(status_code=204)(scope, receive, send)
                return
            self._access.check(scope["path"], headers)
            if scope["path"] in QUEUED and scope["method"] == "POST" and self._lobby.gate.full:
                await FULL(scope, receive, send)
                return
            if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                receive = _replayed(await self._body(headers, receive), receive)
        except Refusal as refusal:
            await refusal_response(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _body(self, headers: Fields, receive: Receive) -> bytes:
        """The whole body. Raises `Refusal`: 413 for one that is too long, 408 for one that does not arrive."""
        told = headers.get("content-length", "0")
        if not told.isdecimal() or int(told[:12]) > BODY:
            raise _too_long()
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._lobby.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "the client hung up", code="client_gone")
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > BODY:
                        raise _too_long()
                    if not message.get("more_body"):
                        return b"".join(pieces)
        except TimeoutError:
            close = {"connection": "close"}
            raise Refusal(408, "the request did not arrive in time", code="timeout", headers=close) from None

    def _cors(self, headers: Fields) -> list[tuple[bytes, bytes]]:
        origin = headers.get("origin")
        if origin is None or origin not in self._access.origins:
            return []
        return [
            (b"access-control-allow-origin", origin.encode()),
            (b"access-control-allow-headers", b"authorization, content-type"),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"vary", b"origin"),
        ]


_SAFE = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


def _too_long() -> Refusal:
    close = {"connection": "close"}
    return Refusal(413, f"the request is longer than {BODY >> 20} MB", code="request_too_large", headers=close)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body at once, and then waits for the client to hang up."""
    pending: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


def refusal_response(refusal: Refusal, typed: bool = False) -> Response:
    """The error object as a response; `typed` says that it is one, as Anthropic's API does."""
    body = refusal.body().model_copy(update={"type": "error"} if typed else {}).model_dump_json()
    return Response(body, refusal.status, headers=refusal.headers, media_type="application/json")


FULL = refusal_response(busy("the queue is full"))
"""Made once, since it is sent most when there is least time."""


def _kind(path: str) -> str:
    """A route's name for metrics: what clients make up must not become a label."""
    if path.startswith("/v1/models"):
        return "/v1/models"
    known = ("/health", "/version", "/metrics", "/openapi.json", "/admin/models/swap")
    return path if path in known else "other"
