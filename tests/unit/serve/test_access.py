"""Who may ask: the token, the host, the origin, and how long a request may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import ADMIN, TOKEN, Stage

from bloomery.serve.access import Access
from bloomery.serve.limits import BODY, Limits

ROUTES = [
    ("GET", "/v1/models"), ("GET", "/v1/models/ember"), ("GET", "/version"), ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/embeddings"),
    ("POST", "/admin/models/swap"), ("DELETE", "/v1/models/ember"), ("GET", "/nowhere"),
]  # fmt: skip


async def _swap(model: str) -> None:
    raise AssertionError("nobody may swap")


def test_every_route_is_in_the_table() -> None:
    paths = set(Stage(swap=_swap).get("/openapi.json").json()["paths"])
    assert paths == {path for _, path in ROUTES if path not in ("/v1/models/ember", "/openapi.json", "/nowhere")} | {
        "/health",
        "/v1/models/{name}",
    }


def test_health_is_told_to_those_who_ask_for_its_head_alone() -> None:
    async def go() -> Any:
        async with Stage().client(None) as client:
            return await client.head("/health")

    found = asyncio.run(go())
    assert found.status_code == 200 and found.content == b""


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("token", [None, "", "wrong", "test-toke", "test-token2"])
def test_no_route_answers_without_the_token(method: str, path: str, token: str | None) -> None:
    stage = Stage(swap=_swap)

    async def go() -> Any:
        async with stage.client(token) as client:
            return await client.request(method, path, json={} if method == "POST" else None)

    found = asyncio.run(go())
    assert found.status_code == 401 and found.json()["error"]["code"] == "invalid_api_key"
    assert stage.service.held == []


def test_the_scope_of_a_token_is_its_own() -> None:
    stage = Stage(swap=_swap)
    assert stage.post("/admin/models/swap", {"model": "x"}, token=TOKEN).status_code == 401
    assert stage.get("/v1/models", token=ADMIN).status_code == 401


def test_without_an_admin_token_there_is_no_admin_route() -> None:
    stage = Stage(swap=_swap, access=Access(TOKEN, None, hosts=("localhost",)))
    assert stage.post("/admin/models/swap", {"model": "x"}).status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:80", "", "[::2]:80", "a:b:c"]
)
def test_another_host_name_is_refused_even_with_the_token(host: str) -> None:
    found = Stage().get("/health", headers={"host": host})
    assert found.status_code == 403 and found.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1"])
def test_loopback_names_are_known(host: str) -> None:
    assert Stage().get("/health", headers={"host": host}).status_code == 200


def test_pages_of_other_origins_are_refused_and_listed_ones_are_told_so() -> None:
    assert Stage().get("/v1/models", headers={"origin": "https://evil.example"}).status_code == 403
    allowed = Access(TOKEN, hosts=("localhost",), origins=("https://app.example",))
    found = Stage(access=allowed).get("/v1/models", headers={"origin": "https://app.example"})
    assert found.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in Stage().get("/v1/models").headers


def _sent(stage: Stage, pieces: list[bytes], headers: dict[str, str], pause: float = 0.0) -> tuple[int, bytes]:
    """Status and body of a request whose body comes in pieces; the last one may never come."""
    told: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or bool(pause)}
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def send(message: Any) -> None:
        told.append(message)

    fields = {"host": "localhost", "authorization": f"Bearer {TOKEN}", "content-type": "application/json"} | headers
    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"", "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in fields.items()], "scheme": "http", "asgi": {"version": "3.0"},
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(stage.app(scope, receive, send))
    return told[0]["status"], b"".join(message.get("body", b"") for message in told[1:])


@pytest.mark.parametrize("length", [str(BODY + 1), "99999999999999999999", "-1", "x"])
def test_a_body_that_says_it_is_too_long_is_refused_unread(length: str) -> None:
    assert _sent(Stage(), [b"{}"], {"content-length": length})[0] == 413


def test_a_body_that_grows_too_long_is_refused_where_it_does() -> None:
    assert _sent(Stage(), [b"x" * (1 << 19)] * 3, {})[0] == 413


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    assert _sent(Stage(limits=Limits(body_seconds=0.01)), [b"{"], {}, pause=0.02)[0] == 408


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": "\\ud800", "messages": []}', b"NaN",
     b'{"model":"ember","messages":[{"role":"user","content":"\\ud800"}]}'],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_the_shape_of_errors(body: bytes) -> None:
    status, said = _sent(Stage(), [body], {})
    assert status == 400 and b'"error"' in said and b"Traceback" not in said


def test_a_full_queue_refuses_a_request_unread() -> None:
    stage = Stage(limits=Limits(running=1, queue=1))
    stage.desk.gate._waiting.append((1, None))  # type: ignore[arg-type]
    assert _sent(stage, [b"{"], {})[0] == 429
