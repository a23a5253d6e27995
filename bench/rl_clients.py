"""Clients that nobody here wrote, each of which drives whole training steps by itself.

    python -m venv VENV && VENV/bin/pip install openai ...        # what docs/clients.md says, a venv for each
    PYTHONPATH=tests/support python bench/rl_clients.py openai=VENV/bin/python boto3=OTHER/bin/python ...

`--record FILE` also writes down what each client sent, for tests/unit/rl/test_clients.py.

One run of a tiny model waits for rollouts; the clients take turns. The programs are the blocks of docs/clients.md as
they stand there. A client has passed when every rollout of some step was its own, was scored, and something of it was
trained.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tiny import model_folder, workshop

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "clients.md"
CLIENTS = {
    "openai": "openai_client.py", "langchain": "langchain_client.py", "anthropic": "anthropic_client.py",
    "litellm": "litellm_client.py", "boto3": "boto3_client.py", "sagemaker": "sagemaker_client.py",
}  # fmt: skip
PUSHED = "sagemaker"
SECONDS = 900
"""How long a client may take to drive a step."""
MORE = """\
schedule: {kind: constant, lr: 1e-3}
budget: 200 steps
eval: {suites: none, domain: heldout.jsonl}
memory: {device: cpu, precision: fp32}
threads: 1
steps: [train, export]
"""


def programs(folder: Path, ports: Sequence[int]) -> None:
    """The page's blocks as files of a working folder, with free ports."""
    text = PAGE.read_text().replace(":8100", f":{ports[0]}").replace(":8200", f":{ports[1]}")
    text = text.replace('"127.0.0.1", 8200', f'"127.0.0.1", {ports[1]}')
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(code)
    [recipe] = re.findall(r"```yaml\n(model:.*?)^```", text, re.MULTILINE | re.DOTALL)
    (folder / "clients.yaml").write_text(recipe + MORE)


class Recorder(BaseHTTPRequestHandler):
    """Stands before the gateway: passes everything on, and remembers calls that a client's library made."""

    gateway: ClassVar[int]
    client: ClassVar[str] = ""
    seen: ClassVar[dict[str, dict[str, Any]]] = defaultdict(dict)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        there = http.client.HTTPConnection("127.0.0.1", self.gateway, timeout=120)
        there.request("POST", self.path, body, headers)
        reply = there.getresponse()
        found = reply.read()
        if not self.path.startswith("/v1/orchestrator") and reply.status == 200:
            kept = {name: value for name, value in headers.items() if name != "user-agent"}  # it names the machine
            told = {"headers": kept, "body": body.decode(), "at": time.time()}
            self.seen[self.client].setdefault(self.path, told)
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_: Any) -> None:
        """Nothing to say."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def until_open(port: int, training: Any) -> None:
    """Wait until the run takes connections."""
    while training.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.2)


def steps_of(run: Path) -> dict[int, tuple[set[str], int]]:
    """Workers and trained rollouts of each step that is over."""
    found: dict[int, tuple[set[str], int]] = {}
    with sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True) as db:
        workers: dict[int, set[str]] = defaultdict(set)
        query = "select rollout, worker from latest where train in ('batched', 'trained')"
        for name, worker in db.execute(query):
            workers[int(name.split(":")[-2])].add(worker)
    for path in sorted((run / "rollouts").glob("step-*.jsonl")):
        rollouts = [json.loads(line) for line in path.read_text().splitlines()]
        step = int(path.stem.removeprefix("step-"))
        scored = [one for one in rollouts if one["reward"] is not None]
        if rollouts and len(scored) == len(rollouts):
            found[step] = (workers[step], sum(one["why"] == "trained" for one in rollouts))
    return found


def drive(name: str, python: str, folder: Path, run: Path, training: Any, environment: dict[str, str]) -> str:
    """Have a client work until a step is its own; what it did, or why not."""
    worker = "push" if name == PUSHED else name
    began, known = time.monotonic(), set(steps_of(run)) if (run / "rollouts").is_dir() else set()
    command = [Path(python).absolute(), CLIENTS[name]]
    with subprocess.Popen(command, cwd=folder, env=environment | {"WORKER": name}) as client:
        try:
            while time.monotonic() - began < SECONDS:
                if training.poll() is not None or client.poll() is not None:
                    return "failed: the " + ("run" if training.poll() is not None else "client") + " ended"
                steps = steps_of(run) if (run / "rollouts").is_dir() else {}
                own = [at for at, (who, used) in steps.items() if at not in known and who == {worker} and used]
                if own:
                    return f"step {own[0]}: {steps[own[0]][1]} rollouts trained, {time.monotonic() - began:.0f} s"
                time.sleep(1)
            return f"failed: no step of its own in {SECONDS} s"
        finally:
            client.send_signal(signal.SIGKILL if name == PUSHED else signal.SIGTERM)
            client.wait(120)


def main(arguments: Sequence[str]) -> int:
    """0 where every client that was named has driven a step."""
    record = arguments[1] if arguments[:1] == ["--record"] else None
    pythons = dict(argument.split("=", 1) for argument in arguments[2 if record else 0 :])
    if not pythons or set(pythons) - set(CLIENTS):
        print(__doc__, "\nclients:", ", ".join(CLIENTS))
        return 2
    told: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = workshop(Path(temporary) / "work", model_folder(Path(temporary) / "tiny"))
        ports = free_ports(2)
        programs(folder, ports)
        Recorder.gateway = ports[0]
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        recipe = folder / "clients.yaml"
        recipe.write_text(recipe.read_text().replace("push: {", f'push: {{endpoint: "{address}", '))
        keys = {"BLOOMERY_TOKEN": "the-project-key-of-this-run", "LAB_SECRET": "the-secret-of-the-lab"}
        mine = {"AWS_ACCESS_KEY_ID": "AKIDLAB", "AWS_SECRET_ACCESS_KEY": keys["LAB_SECRET"]}
        environment = (
            os.environ
            | keys
            | mine
            | {"PYTHONPATH": str(folder), "GATEWAY": address, "AWS_EC2_METADATA_DISABLED": "true"}
        )
        ours = os.environ | keys | {"PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "bloomery.cli", "run", "clients.yaml"]
        with subprocess.Popen(command, cwd=folder, env=ours) as training:
            try:
                until_open(ports[0], training)
                for name, python in pythons.items():
                    Recorder.client = name
                    told[name] = drive(name, python, folder, folder / "runs" / "clients", training, environment)
                    print(f"{name:12} {told[name]}", flush=True)
            finally:
                training.kill()
    if record:
        Path(record).write_text(json.dumps(Recorder.seen, indent=1) + "\n")
    return 0 if not any(one.startswith("failed") for one in told.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
