"""Adapters to other packages' environments, by stand-ins: the packages themselves are not installed here."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import environments
import pytest

from bloomery.core.errors import InputError
from bloomery.rl.environments import worker
from bloomery.rl.environments.apart import Apart, Program
from bloomery.rl.environments.driving import Driving
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
    made["verifiers.legacy"].__spec__ = ModuleSpec("verifiers.legacy", None)
    monkeypatch.setitem(sys.modules, "worker", worker)
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


class Echo:
    """A server of OpenEnv's whose actions are calls of MCP tools; `said` is what it was sent."""

    said: ClassVar[list[Any]] = []

    def __init__(self, base_url: str) -> None:
        self.connected = False

    async def connect(self) -> None:
        self.connected = True

    async def reset(self, **kwargs: Any) -> Any:
        return SimpleNamespace(observation={"metadata": {"status": "ready"}}, reward=0.0, done=False)

    async def step(self, action: Any) -> Any:
        self.said.append(action)
        if action["type"] == "list_tools":
            tool = {"name": "echo", "description": "Echo.", "input_schema": {"type": "object"}}
            return SimpleNamespace(observation={"tools": [tool]}, reward=0.0, done=False)
        if action["tool_name"] != "echo":
            error = {"error_type": "tool_not_found", "message": "Unknown tool"}
            return SimpleNamespace(observation={"result": None, "error": error}, reward=-1.0, done=False)
        text = action["arguments"]["message"]
        result = {"content": [{"type": "text", "text": text}], "is_error": False}
        return SimpleNamespace(observation={"result": result, "error": None}, reward=0.5, done=text == "stop")


@pytest.fixture
def openenv(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The adapter to OpenEnv, over a server that is none."""
    core = ModuleType("openenv.core")
    core.GenericEnvClient = Echo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openenv", ModuleType("openenv"))
    monkeypatch.setitem(sys.modules, "openenv.core", core)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(Echo, "said", [])
    worker.load(FOLDER / "openenv_client.py", "OpenEnv")
    made = sys.modules.pop("environment_openenv_client")
    monkeypatch.setattr(made, "_fields", lambda url: {"type": "string", "tool_name": "string", "arguments": "object"})
    yield made


def test_tools_of_an_mcp_server_are_offered_and_an_answers_calls_are_its_actions(openenv: Any) -> None:
    def call(place: int, name: str, text: str) -> dict[str, Any]:
        return {"id": f"c{place}", "function": {"name": name, "arguments": {"message": text}}}

    async def played() -> list[Any]:
        one = openenv.OpenEnv("http://server")
        row = {"messages": [{"role": "user", "content": "Call a tool."}], "metadata": {}}
        begun = await one.reset(row, 1)
        answers = [[call(0, "echo", "hi"), call(1, "none", "")], [], [call(2, "echo", "stop"), call(3, "echo", "late")]]
        return [begun, one.tools, *[await one.step({"content": "", "tool_calls": calls}) for calls in answers]]

    begun, tools, both, silent, stopped = asyncio.run(played())
    assert begun[0]["content"].startswith("Call a tool.\n")
    about = {"name": "echo", "description": "Echo.", "parameters": {"type": "object"}}
    assert tools == [{"type": "function", "function": about}]
    told, reward, done, _ = both
    assert [one["content"] for one in told] == [
        "hi",
        '{"error": {"error_type": "tool_not_found", "message": "Unknown tool"}}',
    ]
    assert [one["tool_call_id"] for one in told] == ["c0", "c1"] and (reward, done) == (-0.5, False)
    assert silent == ([], 0.0, True, {})
    assert (len(stopped[0]), stopped[1], stopped[2]) == (1, 0.5, True)  # what comes after the end is not sent
    assert Echo.said[-1]["arguments"] == {"message": "stop"}
    assert next(iter(openenv.OpenEnv.tasks(1, "http://server")))["prompt"] == "Call a tool."


@pytest.mark.parametrize(
    ("value", "graded", "told"),
    [
        ({"error": "lost", "kind": "infrastructure"}, False, {"error": ("infrastructure", True)}),
        ({"error": "lost"}, True, {"error": ("infrastructure", True)}),
        ({"error": "broken", "kind": "task"}, True, {"error": ("task", False)}),
        ({"error": "long", "kind": "model", "reward": 0.5}, False, {"error": ("model", False), "reward": 0.5}),
        ({"error": "long", "kind": "model"}, False, {"error": ("task", False)}),  # no reward to wait for
        ({"reward": 1.0, "components": {"right": 1.0}}, False, {"reward": 1.0, "components": {"right": 1.0}}),
    ],
)
def test_a_fault_is_told_by_its_kind(
    monkeypatch: pytest.MonkeyPatch, value: dict[str, Any], graded: bool, told: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, "worker", worker)
    monkeypatch.setattr(sys, "path", [*sys.path])
    rollout = worker.load(Path(worker.__file__).with_name("run_worker.py"), "Rollout")
    sent: list[Any] = []
    made = SimpleNamespace(run=lambda task, base_url, api_key: value)
    job = {"kwargs": {}, "seconds": 10.0, "graded": graded}
    task = {"rollout_id": "r", "attempt": 1, "task": {"messages": []}, "base_url": "", "session_key": ""}
    gateway = SimpleNamespace(post=lambda route, body: sent.append(body))
    rollout(lambda: made, job, gateway, task, threading.Semaphore(0)).watched()
    [body] = sent
    found = {key: body[key] for key in ("reward", "components") if key in body}
    if "error" in body:
        found["error"] = (body["error"]["kind"], body["error"]["retryable"])
    assert found == told and body["status"] == ("failed" if "error" in told else "ready")


def test_nothing_outlives_the_process_of_an_environment(tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    kwargs = {"mark": str(mark)}
    program = Program(Path(environments.__file__), "Leaving", kwargs)
    nowhere = {"gateway": "http://127.0.0.1:9", "token": "", "places": 1, "seconds": 1.0, "graded": False}
    driving = Driving(program, nowhere, SimpleNamespace())  # type: ignore[arg-type]
    until = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.02)
    driving.close()
    assert mark.read_text() == "ended"


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="gymnasum` is no environment"):
        program("gymnasum", {}, "", ())
