"""A stand-in for verifiers of 0.4: the little of its v1 that the adapter speaks to, over episodes that a row describes.

A row's data says what its episode is: `runs`, one dict for each of an agent's runs (`agent, rewards, metrics, error`),
and `error`, what befell the episode itself; an error is `[type, message]`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict


class Retries(BaseModel):
    max_retries: int = 0
    rules: list[Any] = []


class Kind(BaseModel):
    type: str = "prime"


class Named(BaseModel):
    id: str


class AgentConfig(BaseModel):
    harness: Named | None = None
    runtime: Kind = Kind()
    client: dict[str, str] | None = None
    retries: Retries = Retries()


class Data(BaseModel):
    prompt: Any = None
    system_prompt: str | None = None
    description: str | None = None
    name: str | None = None
    runs: list[dict[str, Any]] = []
    error: list[str] | None = None


class Task:
    def __init__(self, data: Data, config: Any) -> None:
        self.data, self.config = data, config

    @classmethod
    def data_type(cls) -> type[Data]:
        return Data


class TasksetConfig(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str = ""
    task: str = "the tasks' config"


class Single(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = ""
    taskset: TasksetConfig = TasksetConfig()
    agent: AgentConfig = AgentConfig()


class Table(BaseModel):
    id: str = ""
    taskset: TasksetConfig = TasksetConfig()
    player0: AgentConfig = AgentConfig(harness=Named(id="cards"))
    player1: AgentConfig = AgentConfig(runtime=Kind(type="docker"))


class Taskset:
    @classmethod
    def task_type(cls) -> type[Task]:
        return Task

    def __iter__(self) -> Iterator[Task]:
        number = 0
        while True:  # as some of theirs, it never ends
            yield Task(Data(prompt=f"Task {number}", system_prompt="Be brief."), None)
            number += 1


class Environment:
    """Remembers what it was asked with in `asked`, and how often it was served."""

    def __init__(self, config: Any) -> None:
        self.config, self.taskset = config, Taskset()
        self.asked: list[tuple[str, str]] = []
        self.served, self._interception = 0, None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.served, self._interception = self.served + 1, "shared"
        yield

    async def run_episode(self, task: Task, context: Any) -> Any:
        assert self._interception is None and task.config == self.config.taskset.task
        self.asked.append((context.client.base_url, os.environ[context.client.api_key_var]))
        traces = [_trace(**one) for one in task.data.runs]
        errors = [SimpleNamespace(type=task.data.error[0], message=task.data.error[1])] if task.data.error else []
        return SimpleNamespace(ok=not errors and all(one.ok for one in traces), traces=traces, errors=errors)


def _trace(agent: str = "agent", rewards: Any = (), metrics: Any = (), error: Any = None) -> Any:
    scores = {name: worth if worth is None else SimpleNamespace(value=worth) for name, worth in dict(rewards).items()}
    found = SimpleNamespace(type=error[0], message=error[1]) if error else None
    return SimpleNamespace(
        agent=SimpleNamespace(name=agent),
        rewards=scores,
        metrics=dict(metrics),
        reward=sum(one.value for one in scores.values() if one),
        ok=not error,
        last_error=found,
    )


class SubprocessRuntime:
    user: str | None = None
    scripts_dir = ""

    async def prepare_uv_script(self, script: Any, env: Any = None, *, activate: bool = True) -> list[str]:
        return ["uv", str(script)]


def env_config_type(name: str, kind: str = "") -> type[BaseModel]:
    return Table if name == "table" else Single


def default_harness_id(name: str) -> str:
    return "own" if name == "harnessed" else "bash"


def resolve_env_config(told: dict[str, Any]) -> Any:
    """What is said of an agent lies over what its environment declares of it."""
    kind = env_config_type(told["taskset"]["id"])
    agents = {name: one.default for name, one in kind.model_fields.items() if isinstance(one.default, AgentConfig)}
    declared = {name: agent.model_dump(exclude_unset=True) for name, agent in agents.items()}
    return kind.model_validate(told | {name: one | told.get(name, {}) for name, one in declared.items()})


load_environment = Environment
EvalClientConfig = ModelContext = SimpleNamespace
