"""Clients that misbehave on a socket: they are cut off, and what they held is free."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_process import scripted_port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A scripted endpoint, a token every 0.2 s."""
    with scripted_port(0.2) as port:
        yield port


def request(port: int, path: str, body: Any = None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    head += "Authorization: Bearer test-token\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def opened(port: int, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(data)
    return client


def whole(client: socket.socket) -> bytes:
    got = b""
    while piece := client.recv(1 << 16):
        got += piece
    client.close()
    return got


def running(port: int) -> int:
    text = whole(opened(port, request(port, "/metrics"))).decode()
    return sum(float(v) > 0 for v in re.findall(r"^bloomery_(?:answers|engine)_running (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_hang_up_hold_nothing(port: int, stream: bool) -> None:
    body = {"model": "ember", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    clients = [opened(port, request(port, "/v1/chat/completions", body)) for _ in range(20)]
    until = time.monotonic() + 30
    while not running(port):
        assert time.monotonic() < until
    for client in clients:
        client.close()
    while running(port):
        assert time.monotonic() < until


def test_a_body_that_never_comes_and_headers_that_never_end_are_cut(port: int) -> None:
    data = request(port, "/v1/chat/completions", {"model": "ember"})
    slow = [opened(port, data[:-5]) for _ in range(20)] + [opened(port, data[:30]) for _ in range(20)]
    assert whole(opened(port, request(port, "/health"))).startswith(b"HTTP/1.1 200")
    answers = [whole(client) for client in slow]
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers[:20]) and answers[20:] == [b""] * 20


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"G" * 70_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%00%ff/..//etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_harms_nobody(port: int, data: bytes) -> None:
    client = opened(port, data)
    client.shutdown(socket.SHUT_WR)
    answer = whole(client)
    assert answer == b"" or answer.split()[1][:1] == b"4"
    assert whole(opened(port, request(port, "/health"))).startswith(b"HTTP/1.1 200")
