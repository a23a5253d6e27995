"""A reward endpoint on loopback that answers rightly, or wrongly in one of ten ways.

`truth(id)` is what an item is worth; any other score that reaches a caller is a wrong one.
"""

from __future__ import annotations

import json
import math
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Items = list[dict[str, Any]]
Fault = Callable[[socket.socket, Items, random.Random], None]


def truth(name: str) -> float:
    """The score of an item, in (0, 1), with all bits in use."""
    return (zlib.crc32(name.encode()) + 0.5) / 2**32


def right(items: Items) -> Items:
    return [{"id": item["id"], "aggregate_reward_score": truth(item["id"])} for item in items]


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def says(value: Any) -> bytes:
    return http(json.dumps(value).encode())


def silent(c: socket.socket, items: Items, chance: random.Random) -> None:
    time.sleep(1)


def broken(c: socket.socket, items: Items, chance: random.Random) -> None:
    c.sendall(http(json.dumps(right(items)).encode(), chance.choice(["500 Oops", "502 Bad", "503 Busy", "504 Late"])))


def busy(c: socket.socket, items: Items, chance: random.Random) -> None:
    c.sendall(http(b"[]", "429 Too Many", f"Retry-After: {chance.choice(['1', '86400', 'soon', '-3'])}"))


def garbage(c: socket.socket, items: Items, chance: random.Random) -> None:
    good = json.dumps(right(items)).encode()
    bodies = [
        b"<html>0.7</html>",
        b"",
        b"\xff\xfe0.7",
        good[: len(good) // 2],
        good + b"]",
        b"0.7",
        b"[" * 5000,
        b"null",
    ]
    c.sendall(http(chance.choice(bodies)))


def no_number(c: socket.socket, items: Items, chance: random.Random) -> None:
    values = [math.nan, math.inf, -math.inf, True, False, "0.7", None, [0.7], {"score": 0.7}, 10**400, 7.5, -0.1]
    c.sendall(says([{"id": item["id"], "aggregate_reward_score": chance.choice(values)} for item in items]))


def huge(c: socket.socket, items: Items, chance: random.Random) -> None:
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + json.dumps(right(items)).encode())
    while True:
        c.sendall(b" " * 65536)


def drip(c: socket.socket, items: Items, chance: random.Random) -> None:
    body = says(right(items))
    start = chance.choice([0, len(body) // 2])
    c.sendall(body[:start])
    for byte in body[start:]:
        c.sendall(bytes([byte]))
        time.sleep(0.05)


def reset(c: socket.socket, items: Items, chance: random.Random) -> None:
    body = says(right(items))
    c.sendall(body[: chance.choice([0, 10, len(body) - 1])])
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wrong_count(c: socket.socket, items: Items, chance: random.Random) -> None:
    good = right(items)
    c.sendall(says(chance.choice([good[:-1], [*good, good[0]], [*good, {"id": "x", "aggregate_reward_score": 1}], []])))


def wrong_ids(c: socket.socket, items: Items, chance: random.Random) -> None:
    score = 1.0
    rows = [
        [{"id": f"other-{at}", "aggregate_reward_score": score} for at in range(len(items))],
        [{"aggregate_reward_score": score} for _ in items],
        [{"id": at, "aggregate_reward_score": score} for at in range(len(items))],
        [{"id": [item["id"]], "aggregate_reward_score": score} for item in items],
    ]
    twice = (
        "[" + ",".join(f'{{"id": {json.dumps(i["id"])}, "aggregate_reward_score": 0, "id": "x"}}' for i in items) + "]"
    )
    c.sendall(chance.choice([*map(says, rows), http(twice.encode())]))


FAULTS: dict[str, Fault] = {
    "silent": silent,
    "status 5xx": broken,
    "status 429": busy,
    "garbage": garbage,
    "no number": no_number,
    "endless body": huge,
    "slow drip": drip,
    "reset": reset,
    "wrong count": wrong_count,
    "wrong ids": wrong_ids,
}


@contextmanager
def reward_server(fault: Fault | None, share: float = 0.6, seed: int = 0) -> Iterator[str]:
    """The address of a server that commits `fault` in `share` of its replies."""
    chance, lock = random.Random(seed), threading.Lock()

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            items = _request(connection)
            with lock:
                own = random.Random(chance.random())
            if fault is not None and own.random() < share:
                fault(connection, items, own)
            else:
                connection.sendall(says(right(items)))

    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/reward"
        server.shutdown(socket.SHUT_RDWR)


def _request(connection: socket.socket) -> Items:
    got = b""
    while b"\r\n\r\n" not in got:
        got += _more(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += _more(connection)
    items: Items = json.loads(body)
    return items


def _more(connection: socket.socket) -> bytes:
    if not (piece := connection.recv(65536)):
        raise OSError("closed")
    return piece
