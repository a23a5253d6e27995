"""OpenEnv's environments: a server that is running somewhere, spoken to over a web socket, one for each rollout.

Run by path in an interpreter that has openenv; it imports nothing else but the standard library.
"""

from __future__ import annotations

import asyncio
import functools
import json
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from openenv.core import GenericEnvClient

REFUSED = "VALIDATION_ERROR"
"""The server's code for an action that is none of its own."""
CALL = {"tool_name", "arguments"}
"""Fields of an action by which a server says that its actions are calls of MCP tools."""


class OpenEnv:
    """The server at `url`, which must allow as many environments at once as rollouts are played at once (`at_once`).

    An answer is the action: with `field`, its text under that name (`message` of an echo); without, JSON as the
    server's schema has it. `show` names a field of what is observed that the model sees; without, it sees all of it.
    `begin` goes along with every reset. `invalid` is the reward of an answer that is no action.

    Where its actions are calls of MCP tools, its tools are offered to the model as functions, and an answer's calls are
    the actions; a rollout is then over when an answer calls nothing.
    """

    tools: Sequence[Mapping[str, Any]] = ()

    def __init__(
        self,
        url: str,
        field: str | None = None,
        show: str | None = None,
        begin: Mapping[str, Any] | None = None,
        invalid: float = 0.0,
    ) -> None:
        self._client = GenericEnvClient(base_url=url)
        self._url, self._field, self._show, self._begin = url, field, show, dict(begin or {})
        self._invalid, self._calls = invalid, False

    @classmethod
    def tasks(cls, rows: int, url: str, field: str | None = None, **kwargs: Any) -> Any:
        """Rows that differ by their seed."""
        values = _fields(url)
        choices = values.get(field or "")
        named = f": {', '.join(map(str, choices))}" if isinstance(choices, list) else ""
        asked = f"Answer with an action{named}." if field else f"Answer with an action as JSON: {json.dumps(values)}"
        asked = "Call a tool." if not field and _is_mcp(url) else asked
        for seed in range(rows):
            yield {"id": f"openenv:{seed}", "prompt": asked, "metadata": {"seed": seed}}

    async def reset(self, row: Mapping[str, Any], seed: int) -> list[dict[str, str]]:
        """Begin with the row's own seed, and show what is observed after what the row says."""
        number = (row.get("metadata") or {}).get("seed", seed)
        await self._client.connect()
        found = await self._client.reset(**{"seed": number, **self._begin})
        self._calls = not self._field and await asyncio.to_thread(_is_mcp, self._url)
        if self._calls:
            listed = await self._client.step({"type": "list_tools"})
            self.tools = [_offered(tool) for tool in listed.observation["tools"]]
        first, *rest = row["messages"]
        return [{**first, "content": f"{first['content']}\n{self._seen(found.observation)}"}, *rest]

    async def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, str]], float | None, bool, dict[str, Any]]:
        """Send the action; one that is no JSON, or none that the server knows, is answered, and costs a turn."""
        if self._calls:
            return await self._called(message.get("tool_calls") or [])
        said = str(message["content"]).strip()
        action = {self._field: said} if self._field else _mapping(said)
        if action is None:
            return [{"role": "user", "content": "That is no JSON object."}], self._invalid, False, {}
        try:
            found = await self._client.step(action)
        except RuntimeError as error:  # of the client's, with the server's code
            if REFUSED not in str(error):
                raise
            return [{"role": "user", "content": "That is none of the actions."}], self._invalid, False, {}
        return [{"role": "user", "content": self._seen(found.observation)}], found.reward, bool(found.done), {}

    async def _called(
        self, calls: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, str]], float, bool, dict[str, Any]]:
        """Do the calls in order, until one of them ends the rollout; it has earned their rewards."""
        told, earned, done = [], 0.0, not calls
        for call in calls if not done else ():
            name, given = call["function"]["name"], call["function"]["arguments"]
            found = await self._client.step({"type": "call_tool", "tool_name": name, "arguments": given})
            told.append(
                {"role": "tool", "tool_call_id": call["id"], "name": name, "content": _answer(found.observation)}
            )
            earned += found.reward or 0.0
            if done := bool(found.done):
                break
        return told, earned, done, {}

    async def close(self) -> None:
        """Free the server's place: one that is not freed is lost to all."""
        await self._client.close()

    def _seen(self, observed: Mapping[str, Any]) -> str:
        if self._show:
            return str(observed.get(self._show, ""))
        return json.dumps({key: value for key, value in observed.items() if value not in (None, {}, [])})


def _offered(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool of MCP as a function of OpenAI's."""
    told = {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]}
    return {"type": "function", "function": told}


def _answer(observed: Mapping[str, Any]) -> str:
    """What a call gave, or why it failed: of an MCP result its text, which tools are made to be read by."""
    value = observed.get("result") if observed.get("error") is None else {"error": observed["error"]}
    parts = value.get("content") if isinstance(value, dict) else None
    if isinstance(parts, list) and parts and all(isinstance(one, dict) and "text" in one for one in parts):
        return "\n".join(one["text"] for one in parts)
    return value if isinstance(value, str) else json.dumps(value)


def _mapping(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@functools.cache
def _is_mcp(url: str) -> bool:
    return {*_fields(url)} >= CALL


def _fields(url: str) -> dict[str, Any]:
    """The fields of an action that the server takes: the values, where they are named, or the type."""
    with urllib.request.urlopen(f"{url.rstrip('/')}/schema", timeout=30) as response:  # noqa: S310  (the recipe's own)
        schema = json.loads(response.read()).get("action", {})
    fields = {name: one for name, one in schema.get("properties", {}).items() if name != "metadata"}
    resolved = {name: one | schema.get("$defs", {}).get(_name(one), {}) for name, one in fields.items()}
    return {name: one.get("enum") or one.get("type") for name, one in resolved.items()}


def _name(field: Mapping[str, Any]) -> str:
    return str(field.get("$ref", "")).rpartition("/")[2]
