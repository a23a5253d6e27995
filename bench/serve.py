"""The endpoint under load and abuse, on loopback: each bar tried, its figure, and whether it held.

    python bench/serve.py                          # all but the soak, about two minutes
    python bench/serve.py arrivals cancels         # some
    python bench/serve.py soak --seconds 3600

Server and load share this machine's cores, so the figures are a floor: the share of a core that the load took is told
beside them. Everything stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN, ADMIN = "bench-token-of-this-run", "bench-admin-of-this-run"
MODELS = ("ember/posttrained", "ember/midtrained")


@dataclass
class Server:
    """`bloomery serve` in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, *options: str) -> Server:
        """Start it and wait until it answers."""
        environment = os.environ | {"BLOOMERY_TOKEN": TOKEN, "BLOOMERY_ADMIN_TOKEN": ADMIN}
        command = [sys.executable, "-m", "bloomery.cli", "serve", MODELS[0], "--name", "ember", "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)/v1", line)
        if found is None:
            raise SystemExit(f"the server did not start: {line}")
        return cls(process, int(found[1]))

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def rss(self) -> float:
        """MB of memory that it holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(port: int, path: str, body: Any = None, token: str = TOKEN, close: bool = True) -> bytes:
    """The bytes of one request."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: {'close' if close else 'keep-alive'}\r\n\r\n".encode() + data


def chat(tokens: int, stream: bool = False, text: str = "What is 2 + 3?") -> dict[str, Any]:
    """A small conversation."""
    said = [{"role": "user", "content": text}]
    return {"model": "ember", "messages": said, "max_tokens": tokens, "stream": stream, "logit_bias": {"0": -100}}


async def answer(port: int, data: bytes, seconds: float = 30.0) -> tuple[int, bytes, float]:
    """(status, what came, seconds); status 0 for a connection that broke, -1 for one that hung."""
    began, got = time.perf_counter(), b""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            got = await reader.read(-1)
            writer.close()
    except TimeoutError:
        return -1, got, time.perf_counter() - began
    except OSError:
        return 0, got, time.perf_counter() - began
    return int(got[9:12] or 0), got, time.perf_counter() - began


def quantiles(values: list[float]) -> str:
    """p50, p99 and the largest, in milliseconds."""
    if not values:
        return "none"
    ordered = sorted(values)
    p50, p99 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.99))
    return f"p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms, max {1e3 * ordered[-1]:.0f} ms"


@dataclass
class Told:
    """Figures of one bar."""

    bar: str
    held: bool
    figures: dict[str, Any] = field(default_factory=dict)


async def arrivals(server: Server, options: argparse.Namespace) -> Told:
    """So many arrivals a second for ten seconds, each answered or refused within a second of its arrival."""
    data, loop = request(server.port, "/v1/chat/completions", chat(options.tokens)), asyncio.get_running_loop()
    tasks, health = [], asyncio.create_task(_health(server.port, options.arrival_seconds))
    began, used = loop.time(), time.process_time()
    late = 0.0
    for number in range(options.rate * options.arrival_seconds):
        due = began + number / options.rate
        late = max(late, loop.time() - due)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        tasks.append(asyncio.create_task(answer(server.port, data)))
    found = await asyncio.gather(*tasks)
    spent = loop.time() - began
    statuses = Counter(status for status, _, _ in found)
    whole = {status: [s for one, _, s in found if one == status] for status in statuses}
    slow = sum(seconds > 1 for _, _, seconds in found)
    figures = {
        "requests": len(found), "statuses": dict(statuses), "slower than 1 s": slow,
        "answered": quantiles(whole.get(200, [])), "refused": quantiles(whole.get(429, [])),
        "health meanwhile": quantiles(await health), "sent late by at most, s": round(late, 2),
        "load's share of a core": round((time.process_time() - used) / spent, 2),
    }  # fmt: skip
    return Told("arrivals", slow == 0 and set(statuses) <= {200, 429}, figures)


async def _health(port: int, seconds: float) -> list[float]:
    """Seconds that a healthy request takes, every 50 ms."""
    found, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        status, _, took = await answer(port, request(port, "/health"))
        found.append(took if status == 200 else 99.0)
        await asyncio.sleep(0.05)
    return found


async def slow(server: Server, options: argparse.Namespace) -> Told:
    """Slow connections of three kinds are cut while a healthy request is answered."""
    body = request(server.port, "/v1/chat/completions", chat(4))
    kinds = {"headers": body[:40], "body": body[:-20], "idle": b""}
    cut: dict[str, list[float]] = {kind: [] for kind in kinds}

    async def one(kind: str, data: bytes) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        try:
            async with asyncio.timeout(40):
                await reader.read(-1)
            cut[kind].append(time.perf_counter() - began)
        except (TimeoutError, OSError):
            pass
        writer.close()

    each = options.connections // len(kinds) + 1
    holding = [asyncio.create_task(one(kind, data)) for kind, data in kinds.items() for _ in range(each)]
    await asyncio.sleep(0.5)
    health = await _health(server.port, 4)
    await asyncio.gather(*holding)
    done = sum(map(len, cut.values()))
    figures = {
        "connections": len(holding), "cut": done, "cut after": {k: quantiles(v) for k, v in cut.items()},
        "health meanwhile": quantiles(health),
    }  # fmt: skip
    return Told("slow", done == len(holding) and max(health) < 0.1, figures)


async def cancels(server: Server, options: argparse.Namespace) -> Told:
    """Clients that hang up in the middle of a stream: their places are free within a second of the last one."""
    data = request(server.port, "/v1/chat/completions", chat(900, stream=True, text="Tell me everything."))
    gone, refused = 0, 0

    async def one() -> None:
        nonlocal gone, refused
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        first = await reader.read(64)
        refused += b" 429 " in first
        gone += b" 200 " in first
        writer.transport.abort()

    while gone < options.connections:
        await asyncio.gather(*(one() for _ in range(48)))
    began = time.perf_counter()
    while await _running(server.port) > 0 and time.perf_counter() - began < 20:
        await asyncio.sleep(0.01)
    freed = time.perf_counter() - began
    figures = {"cancelled": gone, "refused meanwhile": refused, "all places free after, s": round(freed, 3)}
    return Told("cancels", freed < 1, figures)


async def _running(port: int) -> float:
    """Answers that hold a place in the queue or the engine."""
    _, got, _ = await answer(port, request(port, "/metrics"))
    values = re.findall(rb"^bloomery_(?:answers_running|engine_running|engine_waiting) ([\d.e+]+)$", got, re.MULTILINE)
    return sum(map(float, values))


async def swaps(server: Server, options: argparse.Namespace) -> Told:
    """The model is changed again and again while it is asked."""
    failed, done, stop = Counter[int](), 0, False

    async def client() -> None:
        nonlocal done
        while not stop:
            status, _, _ = await answer(server.port, request(server.port, "/v1/chat/completions", chat(8)))
            done += 1
            if status != 200:
                failed[status] += 1

    clients = [asyncio.create_task(client()) for _ in range(8)]
    wrong, took = 0, list[float]()
    for number in range(options.swaps):
        body = {"model": MODELS[(number + 1) % 2]}
        status, _, seconds = await answer(server.port, request(server.port, "/admin/models/swap", body, ADMIN))
        wrong += status != 200
        took.append(seconds)
    stop = True
    await asyncio.gather(*clients)
    figures = {
        "swaps": options.swaps, "that failed": wrong, "a swap": quantiles(took), "requests": done,
        "failed": dict(failed),
    }  # fmt: skip
    return Told("swaps", not wrong and not failed, figures)


async def soak(server: Server, options: argparse.Namespace) -> Told:
    """Memory after hours of everything: answers, streams, refusals, clients that hang up."""
    until, done, failed = time.perf_counter() + options.seconds, 0, Counter[int]()

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            stream = number % 3 == 0
            body = chat(24, stream) if number % 4 else chat(24) | {"temprature": 1}
            status, _, _ = await answer(server.port, request(server.port, "/v1/chat/completions", body))
            done += 1
            if status != (200 if number % 4 else 400):
                failed[status] += 1

    clients = [asyncio.create_task(client(number)) for number in range(16)]
    samples = []
    while not all(task.done() for task in clients):
        await asyncio.sleep(min(5.0, options.seconds / 20))
        samples.append(server.rss)
    warm = samples[len(samples) // 4 :]  # allocators and caches fill up first
    first, last = (sum(part) / len(part) for part in (warm[: len(warm) // 4 or 1], warm[-(len(warm) // 4 or 1) :]))
    growth = last / first - 1
    figures = {
        "seconds": options.seconds, "requests": done, "failed": dict(failed),
        "MB after the first quarter": round(first, 1), "at the end": round(last, 1), "growth": f"{growth:+.2%}",
    }  # fmt: skip
    return Told("soak", growth < 0.02 and not failed, figures)


BARS: dict[str, Callable[[Server, argparse.Namespace], Awaitable[Told]]] = {
    "arrivals": arrivals, "slow": slow, "cancels": cancels, "swaps": swaps, "soak": soak,
}  # fmt: skip


def main() -> None:
    """Try the bars that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="*", metavar="BAR", help=f"{', '.join(BARS)}; all but the soak by default")
    parser.add_argument("--rate", type=int, default=1000, help="arrivals a second")
    parser.add_argument("--arrival-seconds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=8, help="most tokens of an answer under arrivals")
    parser.add_argument("--connections", type=int, default=1000, help="slow connections, and cancels")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60, help="length of the soak")
    parser.add_argument("--serve", default="", help="options for bloomery serve")
    options = parser.parse_args()
    if unknown := set(options.bars) - BARS.keys():
        parser.error(f"there is no bar {', '.join(sorted(unknown))}: there are {', '.join(BARS)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("XDG_CACHE_HOME", folder)
        for name in options.bars or [name for name in BARS if name != "soak"]:
            server = Server.start(*options.serve.split())
            before, used = server.rss, server.cpu
            try:
                told = asyncio.run(BARS[name](server, options))
                told.figures["server's processor time, s"] = round(server.cpu - used, 1)
                told.figures["load average"] = os.getloadavg()[0]
                told.figures["server MB"] = f"{before:.0f} -> {server.rss:.0f}"
            finally:
                told_status = server.stop()
            told.held = told.held and told_status == 0
            print(json.dumps({"bar": told.bar, "held": told.held} | told.figures, indent=2), flush=True)
            results.append(told)
    sys.exit(0 if all(told.held for told in results) else 1)


if __name__ == "__main__":
    main()
