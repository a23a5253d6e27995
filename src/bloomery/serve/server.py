"""The app on a socket: granian in this process, since the weights are here, with slow clients cut off and a drain.

granian closes connections whose headers do not come (`http1_header_read_timeout`, idle ones too); a body that does not
come is cut by `Door`, an answer that is not read by `Events`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bloomery.core.errors import InputError
from bloomery.serve.gate import Lobby

HEADER_MS = 5_000
"""Milliseconds in which a client must send its headers, and after which an idle connection is closed."""
CONNECTIONS = 8192
"""Most connections at once. Slow ones are held until they are cut, so there must be room for others beside them."""
SWITCH_SECONDS = 0.0005
"""How long the engine's thread may keep the interpreter while the server has something to say (Python's own: 5 ms)."""


def free_port(host: str, port: int) -> int:
    """`port`, or a free one for 0. Raises `InputError` where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"`{host}:{port}` cannot be listened on: {error.strerror}", fix="choose another port or host"
            ) from None
        found: int = probe.getsockname()[1]
        return found


async def serve(
    app: Any,
    lobby: Lobby,
    host: str,
    port: int,
    ready: Callable[[], None] = lambda: None,
    until: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then running answers get `drain_seconds`, new requests 503.

    A second signal ends the wait. With `until`, which needs no main thread, it ends with that instead of a signal.
    Raises `InputError` where the port is taken: granian would share it, and the kernel deal callers between two models.
    """
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    port = free_port(host, port)  # once more: another may have taken it while the weights were loaded
    logging.getLogger("_granian").setLevel(logging.ERROR)
    make: Any = Server  # its methods have no types
    server = make(
        app, address=host, port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False,
        backlog=CONNECTIONS, backpressure=CONNECTIONS, log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_MS),
    )  # fmt: skip
    stop = asyncio.Event()
    if until is None:
        _own_process(lobby, stop)
    serving = asyncio.ensure_future(server.serve())
    await _listening(host, port, serving)
    ready()
    stopping = asyncio.ensure_future(stop.wait() if until is None else _set(until))
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        await _drained(lobby)
        server.stop()
    await serving


def _own_process(lobby: Lobby, stop: asyncio.Event) -> None:
    """Signals stop the server, and the interpreter serves it first."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: _told_to_stop(lobby, stop))
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # the model's objects stay: looking through them at every collection would stall answers


async def _set(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.1)


async def _listening(host: str, port: int, serving: asyncio.Future[None]) -> None:
    """Return when the socket takes connections, or the server has ended."""
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(0.01)


def _told_to_stop(lobby: Lobby, stop: asyncio.Event) -> None:
    if lobby.draining:
        lobby.hurried = True
    lobby.draining = True
    stop.set()


async def _drained(lobby: Lobby) -> None:
    until = time.monotonic() + lobby.limits.drain_seconds
    while (lobby.gate.taken or lobby.gate.waiting) and time.monotonic() < until and not lobby.hurried:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)  # what was just answered is still being written
