"""openai's own retries against our server: what it tries again, how long it waits, and what it raises in the end.

How often it asked is what `/metrics` counts.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest
from scripted_process import scripted_port

ROUTE = "/v1/chat/completions"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """One place, a queue of one, and a fiftieth of a second between tokens."""
    with scripted_port(0.02, 1, 1) as port:
        yield port


@pytest.fixture
def hasty() -> Iterator[int]:
    """A server that gives up an answer after a second."""
    with scripted_port(0.02, 1, 1, 1) as port:
        yield port


def client(port: int, retries: int, seconds: float = 30) -> openai.OpenAI:
    url = f"http://127.0.0.1:{port}/v1"
    return openai.OpenAI(api_key="test-token", base_url=url, max_retries=retries, timeout=seconds)


def ask(client: openai.OpenAI, text: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model="ember", messages=[{"role": "user", "content": text}], max_tokens=200, **more
    )


def counts(port: int) -> dict[str, int]:
    """Requests so far by status, and places taken now under `running`."""
    headers = {"authorization": "Bearer test-token"}
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", headers=headers).text
    found = re.findall(rf'bloomery_requests_total{{route="{ROUTE}",status="(\d+)"}} (\S+)', text)
    running = re.findall(r"\nbloomery_answers_running (\S+)", text)
    return {status: int(float(count)) for status, count in found} | {"running": int(float(running[0]))}


def more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}


@contextmanager
def occupied(port: int, seconds: float) -> Iterator[None]:
    """The place is taken for so long, or until the block ends, by a client that then hangs up."""

    async def hold() -> None:
        async with openai.AsyncOpenAI(api_key="test-token", base_url=f"http://127.0.0.1:{port}/v1") as one:
            asked: Any = [{"role": "user", "content": "SLOW"}]
            stream = await one.chat.completions.create(model="ember", messages=asked, stream=True)
            held.set()
            await asyncio.to_thread(over.wait, seconds)
            await stream.close()

    held, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    assert held.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_full_server_is_asked_again_after_what_it_told(port: int) -> None:
    before = counts(port)
    with occupied(port, 1.2):
        began = time.monotonic()
        found = ask(client(port, 5), "Hi")
        waited = time.monotonic() - began
    assert found.choices[0].message.content == "Hello there, all of you."
    done = more(before, counts(port))
    assert done["429"] >= 1 and waited >= 1.0 * done["429"]  # `Retry-After: 1` each time, not the client's own 0.5 s


def test_a_server_that_stays_full_ends_in_a_rate_limit_error(port: int) -> None:
    before = counts(port)
    with occupied(port, 12), pytest.raises(openai.RateLimitError) as told:
        ask(client(port, 1), "Hi")
    assert told.value.code == "rate_limit_exceeded" and told.value.response.headers["retry-after"] == "1"
    assert more(before, counts(port))["429"] == 2


def test_a_failure_is_tried_again_until_it_is_answered(port: int) -> None:
    before = counts(port)
    assert ask(client(port, 2), "FAIL 2 once").choices[0].message.content == "Hello there, all of you."
    assert more(before, counts(port)) == {"500": 2, "200": 1}


def test_a_failure_that_stays_ends_in_an_internal_server_error(port: int) -> None:
    before = counts(port)
    with pytest.raises(openai.InternalServerError) as told:
        ask(client(port, 1), "FAIL 9 always")
    assert told.value.code == "engine_error" and more(before, counts(port)) == {"500": 2}


def test_what_is_wrong_with_a_request_is_not_tried_again(port: int) -> None:
    before = counts(port)
    with pytest.raises(openai.BadRequestError):
        ask(client(port, 3), "Hi", extra_body={"temprature": 1})
    assert more(before, counts(port)) == {"400": 1}


def test_a_client_that_stops_waiting_raises_its_timeout_and_frees_its_place(port: int) -> None:
    before = counts(port)
    with pytest.raises(openai.APITimeoutError):
        ask(client(port, 0, seconds=0.5), "SLOW")
    for _ in range(50):
        if counts(port)["running"] == 0:
            break
        time.sleep(0.1)
    assert more(before, counts(port)) == {"499": 1}
    assert ask(client(port, 0), "Hi").choices[0].message.content == "Hello there, all of you."


def test_an_answer_that_takes_the_server_too_long_is_not_asked_for_again(hasty: int) -> None:
    with pytest.raises(openai.InternalServerError) as told:
        ask(client(hasty, 3), "SLOW")
    assert told.value.status_code == 504 and told.value.code == "deadline_exceeded"
    assert counts(hasty) == {"504": 1, "running": 0}


def test_a_stream_that_breaks_raises_after_what_was_said(port: int) -> None:
    said = ""
    with pytest.raises(openai.APIError) as told:
        for chunk in ask(client(port, 2), "BREAK", stream=True):
            said += chunk.choices[0].delta.content or ""
    assert said and "Hello there, all of you.".startswith(said) and told.value.code == "engine_error"


@contextmanager
def resetting(port: int, times: int) -> Iterator[tuple[int, list[int]]]:
    """(a port, how many came) of a proxy that resets the first connections once the request is there."""
    seen: list[int] = []

    def reset(given: socket.socket) -> None:
        given.recv(65536)
        given.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        given.close()

    def forward(given: socket.socket) -> None:
        with given, socket.create_connection(("127.0.0.1", port)) as server:
            pump = threading.Thread(target=_pump, args=(given, server), daemon=True)
            pump.start()
            _pump(server, given)

    def run() -> None:
        while True:
            try:
                given, _ = listening.accept()
            except OSError:
                return
            seen.append(len(seen))
            threading.Thread(target=reset if len(seen) <= times else forward, args=(given,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=run, daemon=True).start()
        yield listening.getsockname()[1], seen


def _pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass  # either side has hung up


def test_a_connection_that_is_reset_is_made_again(port: int) -> None:
    with resetting(port, 2) as (place, seen):
        assert ask(client(place, 2), "Hi").choices[0].message.content == "Hello there, all of you."
        assert len(seen) == 3
    with resetting(port, 9) as (place, seen), pytest.raises(openai.APIConnectionError):
        ask(client(place, 1), "Hi")
    assert len(seen) == 2


def test_a_server_that_is_not_there_ends_in_a_connection_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(openai.APIConnectionError):
        ask(client(port, 1), "Hi")
