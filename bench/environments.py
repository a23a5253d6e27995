"""One real training step of ember in each environment that another package brings, each in an interpreter of its own.

    python bench/environments.py --gymnasium VENV/bin/python --reasoning-gym VENV/bin/python \
        --openenv VENV/bin/python --verifiers VENV/bin/python --modules FOLDER \
        --verifiers-v1 VENV/bin/python --modules-v1 FOLDER

Each interpreter has its package and nothing of ours: `pip install gymnasium`, or `reasoning-gym`, or `openenv`, or
`verifiers==0.3.1` and `reasoning-gym`, or `verifiers>=0.4`. The first FOLDER holds `tool_test.py` and
`reasoning_gym_env.py`, the modules of verifiers' own environments, the second the packages `scratchpad` and
`kuhn_poker` of its repository. Nothing is timed; it prints what a step was, and ends with 1 where a rollout could not
be scored or none was there.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECIPE: dict[str, Any] = {
    "family": "ember",
    "start": "posttrained",
    "objective": "rl",
    "data": {"domain": [{"path": "tasks.jsonl"}], "curated": "none"},
    "budget": "1 steps",
    "trusted": True,
    "eval": {"suites": "none"},
    "steps": ["train"],
    "threads": 1,
}
GAMES = ("FrozenLake-v1", "CliffWalking-v1", "Blackjack-v1", "Taxi-v4")
EASIEST = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}

ECHO = """
from openenv.core.env_server import Action, Environment, Observation, State, create_app
from pydantic import Field

class Said(Action):
    message: str

class Heard(Observation):
    echoed_message: str = ""

class Echo(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True
    def __init__(self):
        super().__init__()
        self.turns = 0
    def reset(self, seed=None, episode_id=None, **kwargs):
        self.turns = 0
        return Heard(echoed_message="ready", done=False, reward=None)
    def step(self, action, **kwargs):
        self.turns += 1
        return Heard(echoed_message=action.message, done=self.turns == 2, reward=float(len(action.message)) / 100)
    @property
    def state(self):
        return State(step_count=self.turns)

app = create_app(Echo, Said, Heard, env_name="echo", max_concurrent_envs=64)
if __name__ == "__main__":
    import sys, uvicorn
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""
"""A server of OpenEnv's own making around an environment that gives back what it hears."""


def checks(asked: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, interpreter, section `environment`) of each check that there is an interpreter for."""
    if asked.gymnasium:
        for game in GAMES:
            yield game, asked.gymnasium, {"type": "gymnasium", "name": game, "turns": 3}
    if asked.reasoning_gym:
        yield "chain_sum", asked.reasoning_gym, {"type": "reasoning-gym", "name": "chain_sum", "config": EASIEST}
    if asked.openenv:
        told = {"type": "openenv", "field": "message", "show": "echoed_message", "turns": 4}
        yield "echo", asked.openenv, {**told, "url": f"http://127.0.0.1:{asked.port}"}
    if asked.verifiers and asked.modules:
        for name in ("tool-test", "reasoning-gym-env"):
            args = {"num_train_examples": 50, "num_eval_examples": 5}
            yield name, asked.verifiers, {"type": "verifiers", "name": name, "args": args, "path": asked.modules}
    if asked.verifiers_v1 and asked.modules_v1:
        told = {"type": "verifiers-v1", "path": asked.modules_v1}
        yield "scratchpad", asked.verifiers_v1, {**told, "name": "scratchpad"}
        both = ["player0", "player1"]
        yield "kuhn-poker", asked.verifiers_v1, {**told, "name": "kuhn-poker", "agents": both}


def step(python: str, environment: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The figures of one step."""
    rollouts = {
        "group": 4,
        "tasks": 3,
        "max_tokens": 12,
        "go": "anyway",
        "environment": {**environment, "python": python},
    }
    recipe = folder / "step.yaml"
    recipe.write_text(json.dumps({**RECIPE, "rollouts": rollouts}))  # JSON is YAML
    verb = [str(Path(sys.executable).parent / "bloomery")]
    told = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*verb, "rl", "tasks", str(recipe), "--rows", "40", "--out", "tasks.jsonl"], **told)
    subprocess.run([*verb, "run", str(recipe)], **told)
    log = (folder / "runs" / "step" / "events.jsonl").read_text().splitlines()
    return next(event for event in map(json.loads, log) if event["event"] == "rollouts")


def main() -> None:
    """Run every check that there is an interpreter for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("gymnasium", "reasoning-gym", "openenv", "verifiers", "verifiers-v1"):
        parser.add_argument(f"--{name}", help="interpreter that has it")
    parser.add_argument("--modules", help="folder with the modules of verifiers' environments")
    parser.add_argument("--modules-v1", help="folder with the packages of its environments of 0.4 and newer")
    parser.add_argument("--only", help="the check of this name alone")
    asked = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        asked.port = probe.getsockname()[1]
    failed = 0
    for name, python, environment in checks(asked):
        if asked.only in (None, name):
            failed += not _checked(name, str(Path.cwd() / python), environment, asked.port)
    sys.exit(bool(failed))


def _checked(name: str, python: str, environment: dict[str, Any], port: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        server = _served(python, Path(folder), port) if environment["type"] == "openenv" else None
        try:
            found = step(python, environment, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"{name}: {error}", flush=True)
            return False
        finally:
            if server is not None:
                server.kill()
    shown = {key: found.get(key) for key in ("rollouts", "unscorable", "turns", "length", "reward", "trained_rollouts")}
    print(f"{name}: {json.dumps(shown)}", flush=True)
    return bool(found["rollouts"]) and not found["unscorable"]


def _served(python: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The echo server, once it takes connections."""
    (folder / "echo_server.py").write_text(ECHO)
    server = subprocess.Popen([python, "echo_server.py", str(port)], cwd=folder)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    return server


if __name__ == "__main__":
    main()
