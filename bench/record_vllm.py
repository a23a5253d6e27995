"""Records what a real vLLM server answers to our client, for `tests/unit/engine/test_vllm.py` to replay.

    BLOOMERY_VLLM="/path/bin/python -m vllm.entrypoints.openai.api_server" python bench/record_vllm.py

Run it again when vLLM changes what it answers; the test then says what no longer holds.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch

from bloomery.core.errors import BloomeryError
from bloomery.core.rows import TokenRow
from bloomery.engine.protocol import Grammar, Request, Sampling, Token
from bloomery.engine.vllm import VllmClient, VllmEngine, VllmService
from bloomery.engine.vllm_server import VllmServer
from bloomery.models.load import load_model
from bloomery.models.lora import LoraSettings, add_lora, save_lora

ROOT = Path(__file__).parents[1]
EMBER = ROOT / "families/ember/posttrained"
TARGET = ROOT / "tests/unit/engine/vllm_recorded.json"
PROMPTS = ([1, 350, 266, 500, 200, 37], [1, 410, 29, 35], [90, 91, 17])
SCHEMA = (
    '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": false}'
)
PLAIN = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "64"]


def engine_asks(engine: VllmEngine) -> None:
    """What the tests ask an engine."""
    engine.generate(PROMPTS, Sampling(8, top_logprobs=2))
    engine.generate(PROMPTS[:2], Sampling(8, temperature=1.0, seed=7))
    engine.generate(PROMPTS[:1], Sampling(40, grammar=Grammar("json_schema", SCHEMA)))
    engine.generate(PROMPTS[:1], Sampling(8, grammar=Grammar("lark", 'start: "yes" | "no"')))
    engine.generate(PROMPTS[:1], Sampling(8, stop_ids=(577,), logit_bias=((100, -5.0),), presence_penalty=0.5))
    engine.generate(PROMPTS[:1], Sampling(200))
    rows = [[5], [5, 6], [*PROMPTS[0], 3000], (PROMPTS[0] * 11)[:64]]
    engine.score([TokenRow(np.array(ids, np.int32), {}, "", "", "") for ids in rows])
    for sampling in (Sampling(8, grammar=Grammar("json_schema", "{no")), Sampling(8, stop_ids=(), top_logprobs=20)):
        refused(lambda asked=sampling: engine.generate(PROMPTS[:1], asked))
    refused(lambda: engine.generate([[99_999]], Sampling(2)))
    refused(lambda: engine.load_adapter("mine", Path("/adapter")))


def service_asks(service: VllmService) -> None:
    """What the tests ask a service."""
    done = threading.Event()

    def told(token: Token) -> None:
        if token.ended is not None:
            done.set()

    service.submit(Request(PROMPTS[0], Sampling(6, top_logprobs=1)), told)
    done.wait(60)


def adapter_asks(engine: VllmEngine, adapter: Path) -> None:
    """What the tests ask of adapters."""
    engine.load_adapter("mine", adapter)
    engine.generate(PROMPTS[:1], Sampling(6), "mine")
    engine.drop_adapter("mine")
    refused(lambda: engine.generate(PROMPTS[:1], Sampling(6), "mine"))
    refused(lambda: engine.load_adapter("none", adapter / "nowhere"))


def refused(ask: Callable[[], Any]) -> None:
    """An ask that the server may refuse; the refusal is recorded like any answer."""
    with suppress(BloomeryError):
        ask()


def main() -> None:
    """Start two servers, one of them with adapters, and write what passed."""
    seen: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        loaded = load_model(EMBER)
        add_lora(loaded.model, LoraSettings(rank=4), 1)
        generator = torch.Generator().manual_seed(0)
        for name, parameter in loaded.model.named_parameters():
            if ".lora_B." in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
        save_lora(loaded.model, Path(place) / "adapter", base="ember")
        with VllmServer(EMBER, Path(place) / "log", arguments=PLAIN) as server:
            engine_asks(recording(VllmEngine, server, seen, "plain"))
            service_asks(recording(VllmService, server, seen, "plain"))
        with VllmServer(EMBER, Path(place) / "log", arguments=PLAIN, adapters=8) as server:
            adapter_asks(recording(VllmEngine, server, seen, "adapters"), Path(place) / "adapter")
            version = httpx2.get(server.url + "/version").json()["version"]
    text = (
        json.dumps({"vllm": version, "seen": seen}, indent=1)
        .replace(place, "/recorded")
        .replace(str(ROOT), "/recorded")
    )
    TARGET.write_text(text + "\n")
    print(f"wrote {TARGET}: {len(seen)} answers of vLLM {version}")


def recording(kind: type[Any], server: VllmServer, seen: list[dict[str, Any]], name: str) -> Any:
    """A client of `kind` whose every exchange goes to `seen`."""

    def keep(answer: httpx2.Response) -> None:
        body = json.loads(answer.request.content) if answer.request.content else None
        about = {"server": name, "path": answer.url.path, "body": body, "status": answer.status_code}
        seen.append({**about, "type": answer.headers.get("content-type", ""), "text": answer.read().decode()})

    class Recording(kind):  # type: ignore[misc]
        def _find(self, wanted: str | None) -> tuple[str, int]:
            self.http.event_hooks = {"response": [keep]}
            found: tuple[str, int] = VllmClient._find(self, wanted)
            return found

    return Recording(server.url, server.token, model=server.name)


if __name__ == "__main__":
    main()
