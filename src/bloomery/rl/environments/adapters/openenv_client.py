"""OpenEnv's environments: a server that is running somewhere, spoken to over a web socket, one for each rollout.

Run by path in an interpreter that has openenv; it imports nothing else but the standard library.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from openenv.core import GenericEnvClient


class OpenEnv:
    """The server at `url`, which must allow as many environments at once as a step has rollouts.

    An answer is the action: with `field`, its text under that name (`message` of an echo); without, JSON as the
    server's schema has it. `show` names a field of what is observed that the model sees; without, it sees all of it.
    `begin` goes along with every reset.
    """

    def __init__(
        self, url: str, field: str | None = None, show: str | None = None, begin: Mapping[str, Any] | None = None
    ) -> None:
        self._client = GenericEnvClient(base_url=url)
        self._url, self._field, self._show, self._begin = url, field, show, dict(begin or {})
        self._told: str | None = None

    @classmethod
    def tasks(cls, rows: int, url: str, field: str | None = None, **kwargs: Any) -> Any:
        """Rows that differ by their seed."""
        asked = "Answer with an action." if field else f"Answer with an action as JSON: {_schema(url)}"
        for seed in range(rows):
            yield {"id": f"openenv:{seed}", "prompt": asked, "metadata": {"seed": seed}}

    async def reset(self, row: Mapping[str, Any], seed: int) -> list[dict[str, str]]:
        """Begin with the row's own seed, and show what is observed after what the row says."""
        number = (row.get("metadata") or {}).get("seed", seed)
        await self._client.connect()
        found = await self._client.reset(**{"seed": number, **self._begin})
        first, *rest = row["messages"]
        return [{**first, "content": f"{first['content']}\n{self._seen(found.observation)}"}, *rest]

    async def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, str]], float | None, bool, dict[str, Any]]:
        """Send the action; one that is no JSON is answered, and costs a turn."""
        said = str(message["content"]).strip()
        action = {self._field: said} if self._field else _mapping(said)
        if action is None:
            return [{"role": "user", "content": "That is no JSON object."}], 0.0, False, {}
        found = await self._client.step(action)
        return [{"role": "user", "content": self._seen(found.observation)}], found.reward, bool(found.done), {}

    async def close(self) -> None:
        """Free the server's place: one that is not freed is lost to all."""
        await self._client.close()

    def _seen(self, observed: Mapping[str, Any]) -> str:
        if self._show:
            return str(observed.get(self._show, ""))
        return json.dumps({key: value for key, value in observed.items() if value not in (None, {}, [])})


def _mapping(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _schema(url: str) -> str:
    """What actions the server takes."""
    with urllib.request.urlopen(f"{url.rstrip('/')}/schema", timeout=30) as response:  # noqa: S310  (the recipe's own)
        found = json.loads(response.read()).get("action", {}).get("properties", {})
    return json.dumps({name: one.get("enum") or one.get("type") for name, one in found.items() if name != "metadata"})
