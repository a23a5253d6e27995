"""The adapter to verifiers' environments of 0.4, over a stand-in for the package."""

from __future__ import annotations

import asyncio
import importlib.machinery
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tasksets

from bloomery.rl.environments import worker
from bloomery.rl.environments.worker import Incomplete

FOLDER = Path(worker.__file__).parent / "adapters"


def installed(monkeypatch: pytest.MonkeyPatch, legacy: bool) -> None:
    """verifiers as it is in an interpreter that has it, with v0 or without."""
    package = ModuleType("verifiers")
    package.__version__ = "0.3.1" if legacy else "0.4.0"  # type: ignore[attr-defined]
    package.__path__ = []
    package.v1 = tasksets  # type: ignore[attr-defined]
    runtimes = ModuleType("verifiers.v1.runtimes.subprocess")
    runtimes.SubprocessRuntime = type("SubprocessRuntime", (tasksets.SubprocessRuntime,), {})  # type: ignore[attr-defined]
    made: dict[str, Any] = {
        "verifiers": package,
        "verifiers.v1": tasksets,
        "verifiers.v1.runtimes.subprocess": runtimes,
    }
    if legacy:
        made["verifiers.legacy"] = ModuleType("verifiers.legacy")
        made["verifiers.legacy"].__spec__ = importlib.machinery.ModuleSpec("verifiers.legacy", None)
    made["openai"] = SimpleNamespace(AsyncOpenAI=object)
    made["worker"] = worker
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The adapter's module."""
    installed(monkeypatch, legacy=False)
    worker.load(FOLDER / "verifiers_v1.py", "VerifiersV1")
    yield sys.modules.pop("environment_verifiers_v1")


def played(made: Any, **data: Any) -> dict[str, Any]:
    """What comes of a task."""
    found: dict[str, Any] = asyncio.run(made.run({"metadata": {"task": data}}, "http://gateway/v1", "key"))
    return found


def test_an_episode_is_played_with_the_sessions_key_and_its_parts_are_told(adapter: Any) -> None:
    made = adapter.VerifiersV1("plain")
    run = {"rewards": {"right": 1.0, "short": -0.25}, "metrics": {"turns": 3.0, "judged": None}}
    told = played(made, runs=[run])
    assert told == {"reward": 0.75, "components": {"right": 1.0, "short": -0.25, "turns": 3.0}}
    again = adapter.VerifiersV1("plain")
    assert played(again, runs=[run]) == told
    environment = made._played.environment
    assert environment is again._played.environment and environment.served == 1
    assert environment.asked == [("http://gateway/v1", "key")] * 2
    assert not [name for name in os.environ if name.startswith("BLOOMERY_") and name.endswith("_API_KEY")]


def test_several_runs_are_worth_their_mean_and_only_those_of_agents_count(adapter: Any) -> None:
    runs = [{"rewards": {"right": 1.0}}, {"rewards": {"right": 0.0}}, {"agent": "judge", "rewards": {"right": 9.0}}]
    assert played(adapter.VerifiersV1("plain"), runs=runs) == {"reward": 0.5, "components": {"right": 0.5}}
    both = adapter.VerifiersV1("table", agents=["player0", "player1"])
    hands = [{"agent": f"player{n}", "rewards": {"payoff": 1.0 + n}} for n in range(2)]
    assert played(both, runs=hands) == {"reward": 1.5, "components": {"player0/payoff": 1.0, "player1/payoff": 2.0}}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"runs": [{"error": ["ProviderError", "upstream 400: limit_reached"]}]}, "model"),
        ({"runs": [{"error": ["ProviderError", "upstream 503: busy"]}]}, "infrastructure"),
        ({"runs": [{"error": ["HarnessError", "exited 1"]}], "error": ["EnvError", "run()"]}, "infrastructure"),
        ({"runs": [{"error": ["TaskError", "scoring"], "rewards": {"right": None}}]}, "task"),
        ({"runs": [{"rewards": {"right": 1.0}}], "error": ["EnvError", "finalize()"]}, "task"),
        ({"runs": [{"rewards": {"right": None, "short": 1.0}}]}, "task"),
        ({"runs": [{"metrics": {"turns": 1.0}}]}, "task"),
    ],
)
def test_what_failed_has_a_reason_and_whose_fault_it_was_and_never_a_reward(
    adapter: Any, data: dict[str, Any], kind: str
) -> None:
    told = played(adapter.VerifiersV1("plain"), **data)
    assert told["error"] and told["kind"] == kind and "reward" not in told


def test_a_row_of_another_kind_is_the_tasks_fault(adapter: Any) -> None:
    told = asyncio.run(adapter.VerifiersV1("plain").run({"messages": []}, "", ""))
    assert "rl tasks" in told["error"] and told["kind"] == "task"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "must say which are trained of player0, player1"),
        ({"agents": "dealer"}, "names none of player0, player1"),
        ({"agents": "player0"}, "`player1` is not among `agents`"),
        ({"agents": ["player0", "player1"], "env": {"player1": {"client": {}}}}, "`env.player1.client` gives it"),
        (
            {"agents": "player0", "env": {"player0": {"retries": {"max_retries": 2}}, "player1": {"client": {}}}},
            "retries",
        ),
    ],
)
def test_agents_whose_answers_would_be_trained_for_others_are_refused(
    adapter: Any, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(Incomplete, match=said):
        adapter.VerifiersV1("table", **asked)


def test_agents_run_here_without_tools_unless_somebody_says_otherwise(adapter: Any) -> None:
    def placed(name: str, **asked: Any) -> list[tuple[str, str | None]]:
        config = adapter.VerifiersV1(name, **asked)._played.environment.config
        seats = [getattr(config, seat) for seat, _ in adapter._agents_of(type(config))]
        return [(one.runtime.type, one.harness and one.harness.id) for one in seats]

    assert placed("plain") == [("subprocess", "null")]
    assert placed("harnessed") == [("subprocess", None)]  # the taskset's own
    assert placed("table", agents=["player0", "player1"])[1] == ("docker", "null")
    told = {"agent": {"runtime": {"type": "modal"}, "harness": {"id": "bash"}}}
    assert placed("plain", env=told) == [("modal", "bash")]


def test_tasks_are_as_many_as_are_asked_for_and_carry_their_data(adapter: Any) -> None:
    rows = [*adapter.VerifiersV1.tasks(2, "plain")]
    assert [row["id"] for row in rows] == ["plain:0", "plain:1"]
    assert rows[1]["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Task 1"}]
    assert rows[1]["metadata"]["task"]["prompt"] == "Task 1"


def test_what_a_task_shows_is_text(adapter: Any) -> None:
    said = SimpleNamespace(role="user", content=[SimpleNamespace(text="Which "), SimpleNamespace(text="card?")])
    seen = SimpleNamespace(role="user", content=[SimpleNamespace(image_url="data:")])
    assert adapter._shown(tasksets.Data(prompt=[said])) == [{"role": "user", "content": "Which card?"}]
    assert adapter._shown(tasksets.Data(name="hand#3")) == [{"role": "user", "content": "hand#3"}]
    with pytest.raises(Incomplete, match="images"):
        adapter._shown(tasksets.Data(prompt=[seen]))


def test_a_harness_is_started_here_where_its_packages_are_and_by_uv_elsewhere(adapter: Any, tmp_path: Path) -> None:
    runtime = adapter.SubprocessRuntime()
    runtime.scripts_dir = str(tmp_path / "scripts")
    version = importlib.import_module("importlib.metadata").version("pytest")
    has = f'# /// script\n# dependencies = ["pytest=={version}", "numpy"]\n# ///\nprint()\n'
    first, second = (asyncio.run(runtime.prepare_uv_script(has)) for _ in range(2))
    assert first == second and first[0] == sys.executable and Path(first[1]).read_text() == has
    for lacking in (
        has.replace(version, "0.1"),
        has.replace("numpy", "no-such-thing"),
        has.replace("numpy", "numpy>1"),
    ):
        assert asyncio.run(runtime.prepare_uv_script(lacking))[0] == "uv"


@pytest.mark.parametrize(
    ("file", "name", "legacy", "said"),
    [
        ("verifiers_v1.py", "VerifiersV1", True, "has verifiers 0.3.1.*write `type: verifiers`"),
        ("verifiers_v0.py", "Verifiers", False, "has verifiers 0.4.0.*write `type: verifiers-v1`"),
    ],
)
def test_an_interpreter_with_the_other_verifiers_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, file: str, name: str, legacy: bool, said: str
) -> None:
    installed(monkeypatch, legacy)
    with pytest.raises(Incomplete, match=said):
        worker.load(FOLDER / file, name)


def test_the_folder_of_a_taskset_is_found_by_its_servers_too(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "before")
    [*itertools.islice(adapter.VerifiersV1.tasks(1, "plain", path="/some/tasksets"), 1)]
    assert sys.path[-1] == "/some/tasksets" and os.environ["PYTHONPATH"] == os.pathsep.join(
        ("/some/tasksets", "before")
    )
