"""verifiers' environments of 0.4 and newer (v1): a taskset, the agents that play it, and the harness that drives each.

Run by path in an interpreter that has verifiers; it imports nothing else but what comes with it. An agent's harness
talks to verifiers' own interception server, which passes its calls on to our gateway with the session's key.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import verifiers
from worker import Incomplete

if importlib.util.find_spec("verifiers.legacy") is not None:
    raise Incomplete(
        f"its interpreter has verifiers {verifiers.__version__}, and `type: verifiers-v1` needs 0.4 or newer: "
        "pip install 'verifiers>=0.4', or write `type: verifiers`"
    )

import verifiers.v1 as vf
from verifiers.v1.runtimes.subprocess import SubprocessRuntime

OF_THE_MODEL = ("limit_reached", "context_length_exceeded")
"""Refusals of our gateway to a model that has used up what a rollout may take."""
OF_THE_TASK = ("TaskError", "EnvError", "TimeoutError")
"""Errors in what the taskset's own author wrote, which a fresh attempt would only meet again."""
_NEEDS = re.compile(r"^# dependencies = (\[.*\])$", re.MULTILINE)


class VerifiersV1:
    """The taskset `name` with `args` of its own; `env` configures the rest of the environment, each agent by its name.

    `agents` are those that the trained model plays (where there is only one, that one); any other needs a `client` of
    its own in `env`. `path` is a folder in which the taskset's package lies, if it is not installed. An agent runs
    without tools of its own (harness `null`) as a process of this machine, unless taskset or `env` say otherwise.
    """

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        env: Mapping[str, Any] | None = None,
        agents: str | Sequence[str] | None = None,
        path: str = "",
    ) -> None:
        self._played = _loaded(name, json.dumps(dict(args or {})), json.dumps(dict(env or {})), path)
        self._agents = _trained(self._played.environment.config, agents)

    @classmethod
    def tasks(
        cls,
        rows: int,
        name: str,
        args: Mapping[str, Any] | None = None,
        env: Mapping[str, Any] | None = None,
        agents: str | Sequence[str] | None = None,
        path: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Its tasks, each whole in its row's metadata; what a row says is what is known before anyone speaks."""
        played = _loaded(name, json.dumps(dict(args or {})), json.dumps(dict(env or {})), path)
        for number, task in enumerate(itertools.islice(iter(played.environment.taskset), rows)):
            told = {"id": f"{name}:{number}", "messages": _shown(task.data)}
            yield {**told, "metadata": {"task": task.data.model_dump(mode="json")}}

    async def run(self, task: Mapping[str, Any], base_url: str, api_key: str) -> dict[str, Any]:
        """One episode. What its agents' own rewards and metrics are is told by name beside the reward."""
        data = (task.get("metadata") or {}).get("task")
        if data is None:
            return {"error": "the row is no task of verifiers': write them with `bloomery rl tasks`", "kind": "task"}
        playing = asyncio.run_coroutine_threadsafe(self._played.episode(data, base_url, api_key), _loop())
        episode = await asyncio.wrap_future(playing)
        return _worth(episode, self._agents) if episode.ok else _fault(episode)


class _Played:
    """An environment of verifiers' with what all its rollouts share, such as tool servers; the first one starts it."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self._lock, self._serving = asyncio.Lock(), None

    async def episode(self, data: Mapping[str, Any], base_url: str, api_key: str) -> Any:
        """Play a task; its key is in a variable meanwhile, which is how verifiers takes keys."""
        kind = type(self.environment.taskset).task_type()
        task = kind(kind.data_type().model_validate(data), self.environment.config.taskset.task)
        await self._shared()
        variable = f"BLOOMERY_{uuid.uuid4().hex}_API_KEY"  # by this ending it is kept from an agent's own programs
        os.environ[variable] = api_key
        try:
            client = vf.EvalClientConfig(base_url=base_url, api_key_var=variable)
            return await self.environment.run_episode(task, vf.ModelContext(model="policy", client=client))
        finally:
            del os.environ[variable]

    async def _shared(self) -> None:
        async with self._lock:
            if self._serving is None:
                serving = self.environment.serving()
                await serving.__aenter__()
                self._serving = serving
                # Every run then has an interception server of its own: a shared one keeps a client for each key.
                self.environment._interception = None


def _worth(episode: Any, agents: Sequence[str]) -> dict[str, Any]:
    """The mean reward of the runs of `agents`, and by name what it and their metrics consist of."""
    runs = [one for one in episode.traces if one.agent.name in agents and one.rewards]
    unscored = [name for one in runs for name, reward in one.rewards.items() if reward is None]
    if unscored or not runs:
        why = f"the reward `{unscored[0]}` was not worked out" if unscored else "no reward was recorded"
        return {"error": f"{why} for {' and '.join(agents)}", "kind": "task"}
    found: dict[str, list[float]] = {}
    for one in runs:
        rewards = {name: reward.value for name, reward in one.rewards.items()}
        for name, value in {**one.metrics, **rewards}.items():
            if value is not None:
                found.setdefault(name if len(agents) == 1 else f"{one.agent.name}/{name}", []).append(value)
    components = {name: sum(values) / len(values) for name, values in found.items()}
    return {"reward": sum(one.reward for one in runs) / len(runs), "components": components}


def _fault(episode: Any) -> dict[str, Any]:
    """Why an episode has no reward, and whose fault it was: what a run met counts before what came of it."""
    met = [one.last_error for one in episode.traces if not one.ok and one.last_error] or episode.errors[-1:]
    if not met:
        return {"error": "the episode failed without a reason"}
    error = met[0]
    kind = "task" if error.type in OF_THE_TASK else "infrastructure"
    kind = "model" if any(code in error.message for code in OF_THE_MODEL) else kind
    return {"error": f"{error.type}: {error.message}"[:500], "kind": kind}


@functools.cache
def _loaded(name: str, args: str, env: str, path: str) -> _Played:
    if path:
        sys.path.append(path)
        # tool servers are modules of the same package, run by their names
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
    told = json.loads(env)
    kind = vf.env_config_type(name, told.get("id", ""))
    for seat, agent in _agents_of(kind):
        told[seat] = _placed(dict(told.get(seat) or {}), agent, vf.default_harness_id(name))
    config = vf.resolve_env_config({**told, "taskset": {**json.loads(args), "id": name}})
    return _Played(vf.load_environment(config))


def _agents_of(kind: Any) -> list[tuple[str, Any]]:
    """Name and default of each agent that a class of configurations declares."""
    fields = kind.model_fields.items()
    return [(name, field.default) for name, field in fields if isinstance(field.default, vf.AgentConfig)]


def _placed(told: dict[str, Any], agent: Any, usual: str) -> dict[str, Any]:
    """What a recipe says of an agent, with our defaults where neither it nor the taskset says anything: verifiers' own
    are a sandbox that is rented, and a harness that lets the model run any command."""
    if "runtime" not in told and agent.runtime.type == "prime":
        told["runtime"] = {"type": "subprocess"}
    if "harness" not in told and agent.harness is None and usual == "bash":
        told["harness"] = {"id": "null"}
    return told


def _trained(config: Any, agents: str | Sequence[str] | None) -> list[str]:
    """The agents that the trained model plays. Raises `Incomplete` where its answers would be trained for another's."""
    seats = [name for name, _ in _agents_of(type(config))]
    named = [agents] if isinstance(agents, str) else [*(agents or (seats if len(seats) == 1 else ()))]
    if not named or not {*named} <= {*seats}:
        said = f"`agents: {named}` names none of" if named else "`agents` must say which are trained of"
        raise Incomplete(f"{said} {', '.join(seats)}")
    for seat in seats:
        spec = getattr(config, seat)
        if seat in named and spec.client is not None:
            raise Incomplete(f"`{seat}` is trained, and `env.{seat}.client` gives it another model: remove that")
        if seat not in named and spec.client is None:
            raise Incomplete(
                f"`{seat}` is not among `agents`, and all that the trained model says is trained: give it another, "
                f"`env: {{{seat}: {{model: NAME, client: {{base_url: URL, api_key_var: NAME}}}}}}`"
            )
        if spec.retries.max_retries or spec.retries.rules:  # what a failed try said would be trained with the next
            raise Incomplete(f"`env.{seat}.retries`: a rollout that failed begins anew by itself: remove it")
    return named


def _shown(data: Any) -> list[dict[str, str]]:
    """What a task says at its beginning, as messages. Raises `Incomplete` where that is no text."""
    said = data.prompt if isinstance(data.prompt, list) else []
    messages = [{"role": one.role, "content": _text(one.content)} for one in said]
    if data.system_prompt:
        messages.insert(0, {"role": "system", "content": data.system_prompt})
    if not said:
        messages.append({"role": "user", "content": data.prompt or data.description or data.name or "Begin."})
    return messages


def _text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    if any(not hasattr(part, "text") for part in content):
        raise Incomplete("its tasks have images, and only text can be trained")
    return "".join(part.text for part in content)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One event loop for all rollouts, since they share servers."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="verifiers", daemon=True).start()
    return loop


def _here(prepare: Any) -> Any:
    """How a harness's script is started: by this interpreter, where that has what the script needs, else by uv, which
    downloads it."""

    async def prepared(self: Any, script: str | bytes, env: Any = None, *, activate: bool = True) -> list[str]:
        text = script.decode() if isinstance(script, bytes) else script
        if self.user is not None or not _has(text):
            return list(await prepare(self, script, env, activate=activate))
        file = Path(self.scripts_dir) / f"{hashlib.sha256(text.encode()).hexdigest()}.py"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_suffix(f".{uuid.uuid4().hex}")
            new.write_text(text)
            new.replace(file)
        return [sys.executable, str(file)]

    return prepared


def _has(script: str) -> bool:
    """Whether the packages that a script names are installed here, in the version that it names."""
    found = _NEEDS.search(script)
    if found is None:
        return False
    for needed in json.loads(found[1]):
        name, _, exact = needed.partition("==")
        try:
            version = importlib.metadata.version(name)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return False
        if exact not in ("", version):
            return False
    return True


SubprocessRuntime.prepare_uv_script = _here(SubprocessRuntime.prepare_uv_script)
