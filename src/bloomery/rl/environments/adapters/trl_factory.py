"""Classes written for TRL's `environment_factory`: their public methods are tools, `reset(**row)` begins.

Run by path in any interpreter that has what the class imports; it imports the standard library only.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worker import load, result

TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", list: "array", dict: "object"}
OWN = ("reset", "get_reward", "close", "step")
_ARGUMENT = re.compile(r"^\s*(\w+)\s*(?:\([^)]*\))?:\s*(.+)$")


class TrlEnvironment:
    """The class `factory` (`file.py:Class`). A rollout is over when an answer calls nothing; its reward is then that of
    `get_reward`, else of its attribute `reward`."""

    def __init__(self, factory: str, options: Mapping[str, Any] | None = None) -> None:
        file, _, name = factory.rpartition(":")
        self._one = load(Path(file), name)(**dict(options or {}))
        methods = inspect.getmembers(self._one, inspect.ismethod)
        self._methods = {name: method for name, method in methods if name[0] != "_" and name not in OWN}
        self.tools = [described(name, method) for name, method in self._methods.items()]

    async def reset(self, row: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
        """Begin; what `reset` returns is said after the row's own messages."""
        columns = {**(row.get("metadata") or {}), **{key: value for key, value in row.items() if key != "metadata"}}
        told = await result(self._one.reset(**columns))
        messages = [dict(message) for message in row["messages"]]
        if told:
            messages[-1]["content"] = f"{messages[-1]['content']}\n{told}".strip()
        return messages

    async def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, Any]], float | None, bool, dict[str, Any]]:
        """Call what the answer calls; an exception of a tool's is its result, as in TRL."""
        told = []
        for call in message.get("tool_calls") or []:
            name, given = call["function"]["name"], call["function"]["arguments"]
            try:
                found = await result(self._methods[name](**given))
                said = found if isinstance(found, str) else json.dumps(found)
            except Exception as error:
                said = json.dumps({"error": str(error)})
            told.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": said})
        return told, None, not told, {}

    async def reward(self) -> Any:
        """What the rollout is worth."""
        asked = getattr(self._one, "get_reward", None)
        return await result(asked()) if callable(asked) else getattr(self._one, "reward", None)

    async def close(self) -> None:
        """Let go, where the class has something to let go of."""
        close = getattr(self._one, "close", None)
        await result(close() if callable(close) else None)


def described(name: str, method: Any) -> dict[str, Any]:
    """A method as a tool: types from its hints, words from its docstring in Google's style."""
    hints, lines = typing.get_type_hints(method), (inspect.getdoc(method) or "").split("\n")
    words = {found[1]: found[2] for line in lines if (found := _ARGUMENT.match(line))}
    properties: dict[str, Any] = {}
    needed = []
    for parameter in inspect.signature(method).parameters.values():
        kind = hints.get(parameter.name, str)
        properties[parameter.name] = {"type": TYPES.get(typing.get_origin(kind) or kind, "string")}
        if parameter.name in words:
            properties[parameter.name]["description"] = words[parameter.name]
        if parameter.default is parameter.empty:
            needed.append(parameter.name)
    about = " ".join(_paragraph(lines))
    schema = {"type": "object", "properties": properties, "required": needed}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}


def _paragraph(lines: list[str]) -> Iterator[str]:
    """The lines up to the first empty one."""
    for line in lines:
        if not line.strip():
            return
        yield line.strip()
