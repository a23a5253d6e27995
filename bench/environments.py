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
import contextlib
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

GRADED = {"echo_env": {"reward": {"type": "regex", "pattern": "e.*e"}}}
"""What a check's recipe has beside it: echo_env's own reward is 0 for whatever is said."""

LETTERS = """
async def letters(task, trace) -> float:
    return sum(letter in trace.last_reply for letter in task.word) / len(task.word)
"""
"""A reward plugged into scratchpad beside its own, which ember never earns: the letters of the word that are there."""


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
    if asked.openenv and asked.echo_env:
        told = {"type": "openenv", "turns": 4, "at_once": 8}
        yield "echo_env", asked.openenv, {**told, "url": f"http://127.0.0.1:{asked.port}"}
    if asked.verifiers and asked.modules:
        for name in ("tool-test", "reasoning-gym-env"):
            args = {"num_train_examples": 50, "num_eval_examples": 5}
            yield name, asked.verifiers, {"type": "verifiers", "name": name, "args": args, "path": asked.modules}
    if asked.verifiers_v1 and asked.modules_v1:
        told = {"type": "verifiers-v1", "path": asked.modules_v1}
        plugged = {"task": {"rewards": {"letters": {"fn": f"{asked.folder}/letters.py:letters"}}}}
        pad = {**told, "name": "scratchpad", "args": plugged}
        yield "scratchpad", asked.verifiers_v1, pad
        yield "best-of-n", asked.verifiers_v1, {**pad, "env": {"id": "best-of-n", "n": 2}}
        both = ["player0", "player1"]
        yield "kuhn-poker", asked.verifiers_v1, {**told, "name": "kuhn-poker", "agents": both}


def step(python: str, environment: dict[str, Any], folder: Path, more: dict[str, Any]) -> dict[str, Any]:
    """The figures of one step; `more` are further keys of its recipe."""
    rollouts = {
        "group": 4,
        "tasks": 3,
        "max_tokens": 12,
        "go": "anyway",
        "environment": {**environment, "python": python},
    }
    recipe = folder / "step.yaml"
    recipe.write_text(json.dumps({**RECIPE, **more, "rollouts": rollouts}))  # JSON is YAML
    rows = "4" if environment["type"] == "verifiers-v1" else "40"  # each of its turns starts a program
    verb = [str(Path(sys.executable).parent / "bloomery")]
    told = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*verb, "rl", "tasks", str(recipe), "--rows", rows, "--out", "tasks.jsonl"], **told)
    subprocess.run([*verb, "run", str(recipe)], **told)
    log = (folder / "runs" / "step" / "events.jsonl").read_text().splitlines()
    return next(event for event in map(json.loads, log) if event["event"] == "rollouts")


def main() -> None:
    """Run every check that there is an interpreter for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("gymnasium", "reasoning-gym", "openenv", "verifiers", "verifiers-v1"):
        parser.add_argument(f"--{name}", help="interpreter that has it")
    parser.add_argument("--modules", help="folder with the modules of verifiers' environments")
    parser.add_argument("--echo-env", help="folder in which OpenEnv's own `echo_env` lies")
    parser.add_argument("--modules-v1", help="folder with the packages of its environments of 0.4 and newer")
    parser.add_argument("--only", help="the check of this name alone")
    asked = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        asked.port = probe.getsockname()[1]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        asked.folder = folder
        (Path(folder) / "letters.py").write_text(LETTERS)
        for name, python, environment in checks(asked):
            if asked.only in (None, name):
                failed += not _checked(name, str(Path.cwd() / python), environment, asked)
    sys.exit(bool(failed))


def _checked(name: str, python: str, environment: dict[str, Any], asked: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as folder, _served(name, python, Path(folder), asked):
        try:
            found = step(python, environment, Path(folder), GRADED.get(name, {}))
        except subprocess.CalledProcessError as error:
            print(f"{name}: {error}", flush=True)
            return False
    shown = {key: found.get(key) for key in ("rollouts", "unscorable", "turns", "length", "reward", "trained_rollouts")}
    print(f"{name}: {json.dumps(shown)}", flush=True)
    return bool(found["rollouts"]) and not found["unscorable"]


@contextlib.contextmanager
def _served(name: str, python: str, folder: Path, asked: argparse.Namespace) -> Iterator[None]:
    """The server that a check needs, once it takes connections."""
    (folder / "echo_server.py").write_text(ECHO)
    theirs = ["-m", "uvicorn", "echo_env.server.app:app", "--log-level", "error", "--port"]
    commands = {"echo": (["echo_server.py"], folder), "echo_env": (theirs, asked.echo_env)}
    if name not in commands:
        yield
        return
    command, place = commands[name]
    server = subprocess.Popen([python, *command, str(asked.port)], cwd=place)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", asked.port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        server.kill()


if __name__ == "__main__":
    main()
