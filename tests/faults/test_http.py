"""Requests go where they were meant to go, end in time, and read no more than was agreed."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bloomery.core.errors import InputError
from bloomery.core.http import Access, Caps, Http, HttpError, allowed, check_url

HERE = Access(private=True)
QUICK = Caps(connect=1, read=1, total=0.6, body=1000)


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that gives each connection, its request read, to `answer`; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection:
                got = b""
                while b"\r\n\r\n" not in got:
                    got += connection.recv(65536)
                try:
                    answer(connection)
                except OSError:
                    return

        threading.Thread(target=run, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)


def reply(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def fails(answer: Callable[[socket.socket], None], caps: Caps = QUICK) -> str:
    with serving(answer) as url, pytest.raises(HttpError) as caught:
        Http(HERE, caps).send("POST", url, {}, b"{}")
    return caught.value.kind


def test_a_reply_comes_back_whole_and_redirects_are_not_followed() -> None:
    with serving(lambda c: c.sendall(reply(b"fine", "X-A: 1"))) as url:
        got = Http(HERE).send("POST", url, {"X-B": "2"}, b"{}")
        assert (got.status, got.body, got.headers["x-a"]) == (200, b"fine", "1")
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda c: c.sendall(moved)) as url:
        assert Http(HERE).send("GET", url, {}).status == 302


def drip(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    return answer


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


BOMB = zlib.compress(b"0" * (10 << 20), 1)


def bomb(connection: socket.socket) -> None:
    connection.sendall(reply(BOMB, "Content-Encoding: deflate"))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 500), "timeout"),
        (drip(reply(b"x" * 500)), "timeout"),
        (lambda c: (c.sendall(b"HTTP/1.1 200 OK\r\n\r\n1"), time.sleep(0.9)), "timeout"),
        (lambda c: time.sleep(2), "timeout"),
        (endless, "size"),
        (bomb, "protocol"),
        (lambda c: c.sendall(b"SSH-2.0-x\r\n\r\n"), "protocol"),
        (lambda c: c.sendall(reply(b"1234567")[:-3]), "protocol connect"),
        (lambda c: None, "protocol connect"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 50000), "protocol"),
    ],
)
def test_a_server_that_misbehaves_costs_the_time_and_size_agreed(
    answer: Callable[[socket.socket], None], kind: str
) -> None:
    began = time.monotonic()
    assert fails(answer) in kind
    assert time.monotonic() - began < 30  # not a measurement: without limits these never end


def test_nobody_there_is_a_failed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(HttpError) as caught:
        Http(HERE, QUICK).send("GET", f"http://127.0.0.1:{port}/", {})
    assert caught.value.kind == "connect"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "http://user:word@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://exam ple.org/",
        "http:///path",
        "//example.org",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://1.2.3.4\r\nHost: x/",
        "",
    ],
)
def test_an_address_that_two_parsers_could_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        check_url(url)


INSIDE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "ff02::1", "fe80::1%eth0",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public_need_the_users_word(address: str) -> None:
    http = Http(resolve=lambda host, port: [address])
    with pytest.raises(HttpError) as caught:
        http.send("GET", "http://reward.example/", {})
    assert caught.value.kind == "refused"
    assert allowed(address, "reward.example", Access(hosts=("reward.example",)))
    assert not allowed(address, "other.example", Access(hosts=("reward.example",)))


def test_private_does_not_open_the_metadata_service() -> None:
    assert allowed("10.0.0.1", "x", HERE) and allowed("::1", "x", HERE)
    closed = ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254")
    assert not any(allowed(address, "x", HERE) for address in closed)
    assert allowed("93.184.215.14", "x", Access()) and allowed("2606:4700::1", "x", Access())


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    http = Http(resolve=lambda host, port: ["93.184.215.14", "127.0.0.1"])
    with pytest.raises(HttpError, match=r"at 127\.0\.0\.1"):
        http.send("GET", "http://reward.example/", {})


def test_a_name_is_resolved_once_and_the_checked_address_is_used() -> None:
    """DNS rebinding: a second look would have gone elsewhere."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with serving(lambda c: c.sendall(reply(b"here"))) as url:
        port = url.rsplit(":", 1)[1].strip("/")
        got = Http(HERE, resolve=resolve).send("GET", f"http://reward.example:{port}/x", {})
    assert got.body == b"here" and asked == ["reward.example"]


def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving(lambda c: c.sendall(reply(b"fine"))) as url:
        assert Http(HERE).send("GET", url, {}).body == b"fine"


def test_a_name_that_never_resolves_is_a_timeout() -> None:
    http = Http(caps=Caps(connect=0.1), resolve=lambda host, port: time.sleep(5) or [])
    with pytest.raises(HttpError) as caught:
        http.send("GET", "http://reward.example/", {})
    assert caught.value.kind == "timeout"
