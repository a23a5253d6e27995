"""A server that answers as a real vLLM did (`bench/record_vllm.py`), and what was asked of that one as a policy."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from bloomery.core.resources import families_dir
from bloomery.engine.protocol import Completion, Sampling
from bloomery.engine.vllm import VllmEngine
from bloomery.models.load import Loaded, load_model
from bloomery.models.lora import LoraSettings, add_lora
from bloomery.rl.published import Published
from bloomery.rl.vllm_sampler import VllmSampler

RECORDED = json.loads((Path(__file__).parents[1] / "unit/engine/vllm_recorded.json").read_text())
TOKEN = "the-token"
PROMPTS = ([1, *[350, 266, 500, 200, 37] * 14],) * 2 + ([1, 410, 29, 35],)
"""Two of the same, longer than two blocks of the server's cache."""
SAMPLING = Sampling(12, temperature=0.7, seed=5)
VERSIONS = (("first", 0, 0), ("first", 1, 1), ("again", 0, 2))
"""(process, version, seed of its weights): one that goes on publishes an older version again, with other weights."""


class Replay(BaseHTTPRequestHandler):
    """Answers a request as vLLM did when it was asked the same; anything else is a mistake of the test's client."""

    server_name = "plain"
    instead: dict[str, tuple[int, str]] = {}
    """Path -> answer given in place of the recorded one."""
    drop = False
    times: dict[str, int] = {}
    """How often each request came: the same one may be answered otherwise later."""
    place = "/recorded"
    """The folder that stands for the recorder's."""

    def do_GET(self) -> None:
        self.reply(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.reply(json.loads(body.replace(self.place, "/recorded")))

    def reply(self, body: Any) -> None:
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self.send(401, "application/json", '{"error":"Unauthorized"}')
        elif self.path in self.instead:
            status, text = self.instead[self.path]
            self.send(status, "application/json", text)
        else:
            same = [
                s
                for s in RECORDED["seen"]
                if (s["server"], s["path"], s["body"]) == (self.server_name, self.path, body)
            ]
            if same:
                key = f"{self.server_name} {self.path} {json.dumps(body)}"
                self.times[key] = self.times.get(key, -1) + 1
                one = same[min(self.times[key], len(same) - 1)]
                self.send(one["status"], one["type"], one["text"])
            else:
                self.send(418, "text/plain", f"not recorded: {json.dumps(body)}")

    def send(self, status: int, kind: str, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[: len(raw) // 2] if self.drop and "stream" in kind else raw)
        if self.drop:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def replaying(name: str = "plain", place: str = "/recorded") -> Iterator[str]:
    """The address of a server that answers as the one recorded under `name`, for as long as the block runs."""
    Replay.server_name, Replay.place, Replay.instead, Replay.times = name, place, {}, {}
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def policy() -> Loaded:
    """Ember with adapters of rank 4 that do something."""
    loaded = load_model(families_dir() / "ember/posttrained", check=False)
    add_lora(loaded.model, LoraSettings(rank=4), 1)
    move(loaded, 0)
    return loaded


def move(loaded: Loaded, seed: int) -> None:
    """Train the adapters, as it were."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in loaded.model.named_parameters():
        if ".lora_B." in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02


def sampled(engine: VllmEngine, loaded: Loaded, folder: Path) -> Iterator[list[Completion]]:
    """Answers to the same prompts by each of `VERSIONS`, while the policy's weights are those."""
    samplers: dict[str, VllmSampler] = {}
    for tag, version, seed in VERSIONS:
        if tag not in samplers:
            samplers[tag] = VllmSampler(engine, Published(loaded, folder), loaded, SAMPLING.temperature, tag=tag)
        move(loaded, seed)
        samplers[tag].renew(version)
        yield samplers[tag].generate(PROMPTS, SAMPLING)
