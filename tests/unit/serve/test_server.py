"""The socket of the endpoint: one server has it, however many are started."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest

from bloomery.core.errors import InputError
from bloomery.serve.gate import Lobby
from bloomery.serve.server import serve


def test_a_port_that_another_server_took_meanwhile_is_refused_though_the_kernel_would_share_it() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as granian does
        other.bind(("127.0.0.1", 0))
        other.listen()
        app, lobby = None, cast(Lobby, None)  # neither is reached
        with pytest.raises(InputError, match="cannot be listened on"):
            asyncio.run(serve(app, lobby, *other.getsockname()))
