"""A Python and a `bloomery` for shells, whose processes are forked from one that has imported everything.

Importing torch and transformers takes seconds, which a page of twenty commands would pay twenty times.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from killed import SERVER
from tiny import main

CLIENT = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    asked = json.dumps([{kind!r}, sys.argv[1:], os.getcwd(), dict(os.environ)])
    socket.send_fds(server, [asked.encode()], [0, 1, 2])
    sys.exit(int(server.recv(16) or 70))
"""
"""Hands over its words, folder, environment and standard streams, and ends with the status that it is told."""


@contextlib.contextmanager
def commands(folder: Path, seconds: int) -> Iterator[Path]:
    """A folder, made in `folder`, with the commands `bloomery` and `python`; a process that takes longer is ended.

    `python` takes `-c CODE` or a program on its standard input.
    """
    with tempfile.TemporaryDirectory() as short:  # an address may have 107 characters
        address = str(Path(short) / "commands")
        ready = SERVER.Event()
        server = SERVER.Process(target=_listen, args=(address, seconds, ready))
        server.start()
        assert ready.wait(60)
        place = folder / "commands"
        place.mkdir()
        for kind in ("bloomery", "python"):
            command = place / kind
            command.write_text(CLIENT.format(python=sys.executable, address=address, kind=kind))
            command.chmod(0o755)
        try:
            yield place
        finally:
            server.kill()
            server.join()


def _listen(address: str, seconds: int, ready: object) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(address)
        server.listen()
        ready.set()  # type: ignore[attr-defined]
        while True:
            asked, _ = server.accept()
            if os.fork() == 0:
                _answer(asked, seconds)
            asked.close()


def _answer(asked: socket.socket, seconds: int) -> NoReturn:
    """Fork the command, and tell the client how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said, streams, _, _ = socket.recv_fds(asked, 1 << 20, 3)
    if (child := os.fork()) == 0:
        asked.close()
        signal.alarm(seconds)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os._exit(_command(*json.loads(said)))
    _, status = os.waitpid(child, 0)
    asked.send(str(os.waitstatus_to_exitcode(status) & 255).encode())
    os._exit(0)


def _command(kind: str, words: list[str], folder: str, environ: dict[str, str]) -> int:
    gc.freeze()  # what the server imported
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    try:
        if kind == "bloomery":
            main(words)
        code = words[1] if words[:1] == ["-c"] else sys.stdin.read()
        sys.path.insert(0, "")
        exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})
        return 0
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
