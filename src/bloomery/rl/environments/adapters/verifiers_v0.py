"""verifiers' environments (v0, pinned to 0.3.1), which drive their rollouts themselves.

Run by path in an interpreter that has verifiers; it imports nothing else but what comes with it. Environments of the
fork that Amazon Nova uses, whose `env_response` returns `(messages, state)`, work as well.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import verifiers as vf
from openai import AsyncOpenAI
from worker import Incomplete

if importlib.util.find_spec("verifiers.legacy") is None:
    raise Incomplete(
        f"its interpreter has verifiers {vf.__version__}, and `type: verifiers` needs 0.3.1: "
        "pip install verifiers==0.3.1, or write `type: verifiers-v1`"
    )

from verifiers.legacy.clients.openai_chat_completions_client import OpenAIChatCompletionsClient

OF_THE_MODEL = ("ModelResponseError", "ToolParseError", "ToolCallError", "OverlongPromptError")
"""Errors that are the model's doing, for which the rubric has a reward: an empty answer, a call that cannot be read."""


class Verifiers:
    """The environment `name`, loaded with `args`; `path` is a folder in which its module lies, if it is not installed.

    The reward is that of its rubric.
    """

    def __init__(self, name: str, args: Mapping[str, Any] | None = None, path: str = "") -> None:
        self._environment = _loaded(name, json.dumps(dict(args or {})), path)

    @classmethod
    def tasks(
        cls, rows: int, name: str, args: Mapping[str, Any] | None = None, path: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Rows of its training data."""
        for number, row in enumerate(_loaded(name, json.dumps(dict(args or {})), path).get_dataset(rows)):
            told = {"id": f"{name}:{number}", "messages": [_plain(message) for message in row["prompt"]]}
            if row.get("answer") not in (None, ""):
                told["reference_answer"] = row["answer"]
            yield {**told, "metadata": {"info": row.get("info"), "example_id": row.get("example_id", number)}}

    async def run(self, task: Mapping[str, Any], base_url: str, api_key: str) -> dict[str, Any]:
        """One rollout, rewarded by the rubric."""
        metadata, answer = task.get("metadata") or {}, task.get("reference_answer")
        asked = {"prompt": task["messages"], "example_id": metadata.get("example_id", 0)}
        asked |= {} if answer is None else {"answer": answer}
        asked |= {} if metadata.get("info") is None else {"info": metadata["info"]}
        async with AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=3600) as client:
            speaking = OpenAIChatCompletionsClient(client)
            found = await self._environment.run_rollout(asked, speaking, "policy", {})
        fault = found.get("error")
        if fault and not any(name in str(fault) for name in OF_THE_MODEL):
            return {"error": str(fault)[:500]}
        return {"reward": found["reward"]}


@functools.cache
def _loaded(name: str, args: str, path: str) -> Any:
    if path:
        sys.path.append(path)
    found = vf.load_environment(name, **json.loads(args))
    if hasattr(found, "env_response"):
        found.env_response = _either(found.env_response)
    return found


def _either(respond: Any) -> Any:
    """`env_response` in either of its forms: new messages, or `(all messages, state)`."""

    async def responded(messages: Any, state: Any, **kwargs: Any) -> Any:
        value = respond(messages, state, **kwargs)
        value = await value if inspect.isawaitable(value) else value
        if not isinstance(value, tuple):
            return value
        told, new = value
        if new is not state:
            state.update(new)
        seen = len(messages)
        return told[seen:] if list(told[:seen]) == list(messages) else told

    return responded


def _plain(message: Any) -> dict[str, Any]:
    """A message as JSON, whether it is a mapping or an object of verifiers'."""
    told = message if isinstance(message, dict) else message.model_dump(exclude_none=True)
    return {key: value for key, value in told.items() if value is not None}
