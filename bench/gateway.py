"""What the gateway of reinforcement learning costs: time of a call beside the same call to the plain endpoint.

    PYTHONPATH=tests/support python bench/gateway.py

The model is a script that answers at once, so all that is measured is ours: HTTP, the chat template, matching, the
journal. The client is a bare socket on the same machine. Every reply is compared with the journal afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bloomery.rl.journal import Journal

ROOT = Path(__file__).resolve().parents[1]
TURNS = 8


@contextmanager
def server(script: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """(port, process) of a scripted server in a process of its own."""
    command = [sys.executable, str(ROOT / "tests/support" / script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
        process.terminate()


class Connection:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: Any = None

    async def post(self, path: str, key: str, body: Any) -> Any:
        """The JSON of an answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        raw = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        writer.write(head.encode() + raw)
        told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(told.split("content-length: ")[1].split("\r\n")[0])
        found = json.loads(await reader.readexactly(length))
        assert told.startswith("http/1.1 200"), found
        return found


async def talk(connection: Connection, key: str, times: list[float]) -> list[str]:
    """A conversation of some turns; the ids of its answers."""
    messages: list[Any] = [{"role": "user", "content": "What is 12 + 30?"}]
    names = []
    for _ in range(TURNS):
        began = time.perf_counter()
        body = {"model": "ember", "messages": messages, "max_tokens": 20}
        found = await connection.post("/v1/chat/completions", key, body)
        times.append(time.perf_counter() - began)
        names.append(found["id"])
        messages += [found["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    return names


async def plain(port: int, sessions: int) -> list[float]:
    """Seconds of each call to the plain endpoint."""
    times: list[float] = []
    await asyncio.gather(*(talk(Connection(port), "test-token", times) for _ in range(sessions)))
    return times


async def rollouts(port: int, sessions: int) -> tuple[list[float], dict[str, list[str]]]:
    """Seconds of each call to the gateway, and the ids of each rollout's answers."""
    times: list[float] = []
    told: dict[str, list[str]] = {}
    claims: list[Any] = []
    while len(claims) < sessions:
        claim = {"worker_id": "w", "max": min(256, sessions - len(claims))}
        claims += await Connection(port).post("/v1/orchestrator/tasks:claim", "project-key", claim)

    async def one(claim: Any) -> None:
        connection = Connection(port)
        told[claim["rollout_id"]] = await talk(connection, claim["session_key"], times)
        path = f"/v1/orchestrator/rollouts/{claim['rollout_id']}:complete"
        await connection.post(path, claim["session_key"], {"status": "ready", "reward": 1.0})

    await asyncio.gather(*(one(claim) for claim in claims))
    return times, told


def check(folder: Path, told: dict[str, list[str]]) -> int:
    """Turns in the journal, which must be exactly those that were told."""
    journal = Journal(folder / "journal.sqlite")
    groups = journal.settled().result()
    outcomes = [one for group in groups.values() for one in group]
    assert len(outcomes) == len(told)
    for outcome in outcomes:
        sent = [one.completion for one in journal.sent(outcome.attempt.id).result()]
        assert sent == told[outcome.rollout_id], outcome.rollout_id
    journal.close()
    return sum(map(len, told.values()))


def cpu(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shown(times: list[float], seconds: float) -> str:
    """Median and 95th percentile of a call, and the server's processor time for one."""
    ordered, share = sorted(times), seconds / len(times) * 1e3
    late = ordered[int(len(ordered) * 0.95)] * 1e3
    return f"{statistics.median(ordered) * 1e3:8.2f} ms median {late:8.2f} ms p95 {share:6.2f} ms of CPU"


def main() -> None:
    """Print two lines for each number of sessions; each server answers a conversation before it is measured."""
    for sessions in (1, 64, 500):
        at_once = min(sessions, 64)
        with server("scripted_server.py", "0", "64", "4096") as (port, process):
            asyncio.run(plain(port, 1))
            before = cpu(process)
            times = asyncio.run(plain(port, at_once))
            print(f"{at_once:4} sessions, plain   {shown(times, cpu(process) - before)}", flush=True)
        with (
            tempfile.TemporaryDirectory() as folder,
            server("rl_server.py", folder, "0", "0", str(sessions + 1)) as (port, process),
        ):
            _, told = asyncio.run(rollouts(port, 1))
            before = cpu(process)
            times, more = asyncio.run(rollouts(port, sessions))
            print(f"{sessions:4} sessions, gateway {shown(times, cpu(process) - before)}", end="  ")
            print(f"{check(Path(folder), told | more)} turns, all there once", flush=True)


if __name__ == "__main__":
    main()
