"""A scripted model behind the real gateway, and clients that reach it without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx2
import openai
from scripted import Scripted, prompter

from bloomery.rl.forced import Forced
from bloomery.rl.gateway import Gateway, Rights
from bloomery.rl.journal import Journal
from bloomery.rl.leases import Claim, Task, Terms
from bloomery.rl.routes import make_app
from bloomery.rl.turns import Tree
from bloomery.serve.desk import Model
from bloomery.serve.limits import Limits

PROJECT = "project-key"
ADD: Any = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
CALL = '<tool_call>\n{"name": "add", "arguments": {"b": 2, "a": 1}}\n</tool_call>'


class RlStage:
    """One gateway with its journal in `folder`; to be made inside an event loop."""

    def __init__(
        self, folder: Path, service: Any = None, terms: Terms | None = None, tasks: int = 1,
        forced: Forced | None = None, prompting: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        self.service = service or Scripted()
        self.journal = Journal(folder / "journal.sqlite", terms)
        self.journal.put([Task(f"r{number}", "g", {"question": f"{number} + 1?"}) for number in range(tasks)]).result()
        prompting = prompting or prompter()
        model = Model("ember", prompting, prompting.tokenizer, 1_700_000_000, "fp_test")
        rights = options.pop("rights", Rights(PROJECT))
        limits = Limits(running=8, queue=512, patience=20, body_seconds=5)
        self.gateway = Gateway(
            self.service, model, prompting, self.journal, rights, forced=forced, limits=limits, **options
        )
        self.app = make_app(self.gateway, ("localhost", "127.0.0.1"))

    async def claim(self) -> Claim:
        [claim] = await asyncio.wrap_future(self.journal.claim("w"))
        return claim

    async def tree(self, claim: Claim) -> Tree:
        return await asyncio.wrap_future(self.journal.tree(claim.attempt.id))

    def http(self, key: str = PROJECT, **options: Any) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)  # type: ignore[arg-type]
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, **options)

    def openai(self, key: str, retries: int = 0) -> openai.AsyncOpenAI:
        transport: Any = httpx2.ASGITransport(self.app, raise_app_exceptions=False)  # type: ignore[arg-type]
        client: Any = httpx2.AsyncClient(transport=transport)
        return openai.AsyncOpenAI(api_key=key, base_url="http://localhost/v1", http_client=client, max_retries=retries)

    async def act(self, name: str, act: str, key: str = PROJECT, **body: Any) -> httpx2.Response:
        """One call of the orchestrator's routes about a rollout."""
        async with self.http(key) as client:
            return await client.post(f"/v1/orchestrator/rollouts/{name}:{act}", json=body)

    async def status(self, name: str = "r0") -> Any:
        async with self.http() as client:
            return (await client.get(f"/v1/orchestrator/rollouts/{name}")).json()


def play(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's story."""
    asyncio.run(asyncio.wait_for(work, 60))
