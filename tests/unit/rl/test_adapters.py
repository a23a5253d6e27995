"""Adapters to other packages' environments, by stand-ins: the packages themselves are not installed here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import environments
import pytest

from bloomery.core.errors import InputError
from bloomery.rl.environments import worker
from bloomery.rl.environments.apart import Apart
from bloomery.rl.environments.interface import Call
from bloomery.rl.environments.named import ADAPTERS, program

FOLDER = Path(worker.__file__).parent / "adapters"


def test_every_adapter_imports_its_own_package_and_the_standard_library_only() -> None:
    own = {"gymnasium", "reasoning_gym", "openenv", "verifiers", "openai", "worker", "__future__"}
    for file, name in ADAPTERS.values():
        text = (FOLDER / file).read_text()
        lines = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
        names = {line.split()[1].split(".")[0] for line in lines}
        assert f"class {name}:" in text and names <= own | sys.stdlib_module_names


def test_the_methods_of_a_class_for_trl_are_tools_and_its_reward_counts() -> None:
    host = Apart(program("trl", {"factory": f"{environments.__file__}:Wallet"}, "", ()), 10.0)
    row = {"messages": [{"role": "user", "content": "Earn."}], "start": 2, "metadata": {}}
    call: Any = {"id": "c0", "function": {"name": "earn", "arguments": {"amount": 3}}}
    less: Any = {"id": "c1", "function": {"name": "earn", "arguments": {"amount": -1}}}
    try:
        [begun] = host.ask([Call(0, "reset", {"row": row, "seed": 1})])
        [told] = host.ask([Call(0, "step", {"message": {"content": "", "tool_calls": [call, less]}})])
        [over] = host.ask([Call(0, "step", {"message": {"content": "Done."}})])
        [ended] = host.ask([Call(0, "end", {})])
    finally:
        host.close()
    assert begun.value["messages"] == [{"role": "user", "content": "Earn.\nYou have 2."}]
    assert begun.value["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "earn",
                "description": "Add to what is there.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "amount": {"type": "integer", "description": "How much."},
                        "why": {"type": "string", "description": "For what."},
                    },
                    "required": ["amount"],
                },
            },
        }
    ]
    messages, reward, done, _ = told.value
    assert [one["content"] for one in messages] == ["5 now", '{"error": "less than nothing"}']
    assert (reward, done) == (None, False) and over.value[2] is True and ended.value == {"reward": 5.0}


@pytest.fixture
def verifiers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The adapter to verifiers, over a package that is none."""
    names = ["verifiers", "openai", "verifiers.legacy", "verifiers.legacy.clients"]
    names.append("verifiers.legacy.clients.openai_chat_completions_client")
    made = {name: ModuleType(name) for name in names}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    made["openai"].AsyncOpenAI = made[names[-1]].OpenAIChatCompletionsClient = object  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "path", [*sys.path])
    worker.load(FOLDER / "verifiers_v0.py", "Verifiers")
    yield sys.modules.pop("environment_verifiers_v0")


def test_what_an_environment_of_verifiers_says_may_come_with_its_state(verifiers: Any) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    new = [{"role": "user", "content": "c"}]

    async def plain(messages: Any, state: Any) -> Any:
        return new

    def novas(messages: Any, state: Any) -> Any:
        return [*messages, *new], {**state, "turn": 1}

    state: dict[str, Any] = {"turn": 0}
    assert asyncio.run(verifiers._either(plain)(said, state)) == new and state == {"turn": 0}
    assert asyncio.run(verifiers._either(novas)(said, state)) == new and state == {"turn": 1}


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="gymnasum` is no environment"):
        program("gymnasum", {}, "", ())
