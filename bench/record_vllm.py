r"""Records what a real vLLM server answers to our client, for `tests/unit/engine/test_vllm.py` to replay.

    BLOOMERY_VLLM="/path/bin/python -m vllm.entrypoints.openai.api_server" \
    PYTHONPATH=tests/support python bench/record_vllm.py [plain] [adapters] [policy]

Run it again when vLLM changes what it answers; the test then says what no longer holds. Without arguments all three
servers are recorded, with some the others stay as they were.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from vllm_replay import policy, sampled

from bloomery.core.errors import BloomeryError
from bloomery.core.rows import TokenRow
from bloomery.engine.protocol import Grammar, Request, Sampling, Token
from bloomery.engine.vllm import VllmClient, VllmEngine, VllmService
from bloomery.engine.vllm_server import VllmServer
from bloomery.models.lora import save_lora

ROOT = Path(__file__).parents[1]
EMBER = ROOT / "families/ember/posttrained"
TARGET = ROOT / "tests/unit/engine/vllm_recorded.json"
PROMPTS = ([1, 350, 266, 500, 200, 37], [1, 410, 29, 35], [90, 91, 17])
SCHEMA = (
    '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": false}'
)
Seen = list[dict[str, Any]]
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


def policy_asks(engine: VllmEngine, place: Path) -> None:
    """What the tests ask of a policy in training."""
    engine.find_mode()
    for _ in sampled(engine, policy(), place / "policy"):
        pass


def refused(ask: Callable[[], Any]) -> None:
    """An ask that the server may refuse; the refusal is recorded like any answer."""
    with suppress(BloomeryError):
        ask()


def plain(seen: Seen, place: Path) -> str:
    """A server without adapters."""
    with VllmServer(EMBER, place / "log", arguments=PLAIN) as server:
        engine_asks(recording(VllmEngine, server, seen, "plain"))
        service_asks(recording(VllmService, server, seen, "plain"))
        return version(server)


def adapters(seen: Seen, place: Path) -> str:
    """A server with adapters that are loaded and dropped."""
    save_lora(policy().model, place / "adapter", base="ember")
    with VllmServer(EMBER, place / "log", arguments=PLAIN, adapters=8) as server:
        adapter_asks(recording(VllmEngine, server, seen, "adapters"), place / "adapter")
        return version(server)


def trained(seen: Seen, place: Path) -> str:
    """A server that samples for a policy in training; its cache holds blocks of 32 tokens."""
    more = ["--max-model-len", "512", "--block-size", "32", "--enable-prefix-caching"]
    with VllmServer(EMBER, place / "log", arguments=[*PLAIN, *more], adapters=4) as server:
        policy_asks(recording(VllmEngine, server, seen, "policy"), place)
        return version(server)


RECORDERS = {"plain": plain, "adapters": adapters, "policy": trained}


def version(server: VllmServer) -> str:
    """Which vLLM it is."""
    return str(httpx2.get(server.url + "/version").json()["version"])


def main() -> None:
    """Start the servers that are asked for, and write what passed."""
    wanted = sys.argv[1:] or [*RECORDERS]
    found = json.loads(TARGET.read_text()) if TARGET.is_file() else {"seen": []}
    for name in wanted:
        seen: Seen = []
        with tempfile.TemporaryDirectory() as place:
            found["vllm"] = RECORDERS[name](seen, Path(place))
            text = json.dumps(seen).replace(place, "/recorded").replace(str(ROOT), "/recorded")
        found["seen"] = [one for one in found["seen"] if one["server"] != name] + json.loads(text)
        print(f"{name}: {len(seen)} answers of vLLM {found['vllm']}")
    TARGET.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {TARGET}")


def recording(kind: type[Any], server: VllmServer, seen: Seen, name: str) -> Any:
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
