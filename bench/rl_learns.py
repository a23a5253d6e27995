"""What learning from rewards does to ember on two cores: held-out success before and after, for each kind of run.

    .venv/bin/python bench/rl_learns.py single --seeds 0 1 2 --out DIR
    .venv/bin/python bench/rl_learns.py single repair chain_sum endpoint orchestrator failing --out DIR

`single` company language, one answer; `repair` up to three turns, beside one turn at equal steps; `chain_sum`
reasoning-gym's (needs `--reasoning-gym PYTHON`); `endpoint` the reward is a server's; `orchestrator` another process
makes the rollouts with the openai client alone; `failing` the last two at once, clean and with 30 % of the server's
calls timing out or answering garbage, the orchestrators killed every 20 s and the trainer killed once. All begin with
the same short fine-tuning, so that the first rewards are neither all 0 nor all 1. Results go to DIR/results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bloomery.data.curated.workflow.check import check

HERE = Path(__file__).parent
BLOOMERY = str(Path(sys.executable).parent / "bloomery")
KEY = "the-key-of-this-measurement"
PORT = os.environ.get("PORT", "8123")
ADDRESS = f"127.0.0.1:{PORT}"
ENVIRONMENT = {**os.environ, "BLOOMERY_TOKEN": KEY, "GATEWAY": f"http://{ADDRESS}"}

PAIRS = """\
family: ember
start: posttrained
objective: sft
data: {domain: [{builtin: workflow-pairs}], share: 60%}
budget: 250k tokens
steps: [train, export]
"""
REWARDS = """\
family: ember
start: runs/pairs
objective: rl
data: {domain: [{builtin: workflow-pairs}], share: 60%}
schedule: {lr: 3e-4, warmup: 10%}
optim: {betas: [0.9, 0.99]}
steps: [train, export]
"""
SUITE = """\
name: tapline
role: domain
kind: generate
builtin: workflow-pairs
options: {count: 400, split: heldout}
grader: {type: workflow}
samples: 4
temperature: 1.0
max_new_tokens: 48
metrics: [pass@1]
"""
ROLLOUTS = {"group": 8, "tasks": 16, "max_tokens": 48, "advantage": "std"}
"""Three of four groups are level at first: over its deviation, a group with one right answer weighs more."""


def run(out: Path, name: str, recipe: str, /, **keys: Any) -> float:
    """A run of a recipe; its seconds."""
    (out / f"{name}.yaml").write_text(recipe)
    given = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    began = time.monotonic()
    with (out / f"{name}.log").open("a") as log:
        done = subprocess.run(
            [BLOOMERY, "run", f"{name}.yaml", *given], cwd=out, env=ENVIRONMENT, stderr=log, stdout=log
        )
    if done.returncode:
        raise SystemExit(f"{name} ended with status {done.returncode}: {(out / f'{name}.log').read_text()[-2000:]}")
    return time.monotonic() - began


def held_out(out: Path, model: str) -> float:
    """pass@1 of a run on 400 held-out tasks at temperature 1, four answers to each."""
    (out / "suite.yaml").write_text(SUITE)
    command = [BLOOMERY, "eval", model, "--suite", "suite.yaml", "--json"]
    said = subprocess.run(command, cwd=out, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    return round(float(json.loads(said)["suites"][0]["value"]), 4)


def events(out: Path, name: str, kind: str = "rollouts") -> list[dict[str, Any]]:
    lines = (out / "runs" / name / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def tenth(out: Path, name: str) -> tuple[float, float]:
    """Mean reward of the first and of the last tenth of the steps; a step that was done again counts as it was last."""
    found = [
        event["reward"] for event in {event["step"]: event for event in events(out, name)}.values() if "reward" in event
    ]
    part = max(1, len(found) // 10)
    return sum(found[:part]) / part, sum(found[-part:]) / part


def say(out: Path, **told: Any) -> None:
    print(json.dumps(told), flush=True)
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")


def fine_tuned(out: Path) -> None:
    """The start of every run, once."""
    if not (out / "runs" / "pairs" / "model").is_dir():
        run(out, "pairs", PAIRS)
        say(out, part="start", held_out=held_out(out, "runs/pairs"))


def learn(out: Path, part: str, seed: int, steps: int, recipe: str, **keys: Any) -> None:
    """One run, and what it was worth."""
    name = f"{part}-{seed}"
    seconds = run(out, name, recipe, name=name, seeds=[seed], budget=f"{steps} steps", **keys)
    first, last = tenth(out, name)
    say(
        out, part=part, seed=seed, steps=steps, seconds=round(seconds), reward=[round(first, 3), round(last, 3)],
        held_out=held_out(out, f"runs/{name}"),
    )  # fmt: skip


def rollouts(**more: Any) -> str:
    return f"rollouts: {json.dumps(ROLLOUTS | more)}\n"


def single(out: Path, options: argparse.Namespace) -> None:
    recipe = REWARDS + "reward: {type: workflow}\n" + rollouts()
    for seed in options.seeds:
        learn(out, "single", seed, options.steps or 500, recipe)


def repair(out: Path, options: argparse.Namespace) -> None:
    """Three turns beside one: success within its turns on the held-out tasks that both watch, at equal steps.

    Both begin with the same second fine-tuning, on conversations in which a wrong program of the start's own is
    answered by the interpreter's error and put right; the wrong ones are not trained (`weight: 0`).
    """
    taught_to_repair(out)
    for seed in options.seeds:
        for turns in (1, 3):
            recipe = REWARDS.replace("runs/pairs", "runs/repairs")
            recipe += rollouts(tasks=8, advantage="mean", watch=100, environment={"type": "repair", "turns": turns})
            steps = options.steps or 150
            name = f"repair{turns}-{seed}"
            every = {"eval.every": f"{steps - 1} steps"}
            seconds = run(out, name, recipe, name=name, seeds=[seed], budget=f"{steps} steps", **every)
            held = [event["held_reward"] for event in events(out, name) if "held_reward" in event]
            first, last = tenth(out, name)
            say(
                out, part="repair", turns=turns, seed=seed, steps=steps, seconds=round(seconds),
                reward=[round(first, 3), round(last, 3)], held_out=[round(value, 3) for value in held],
            )  # fmt: skip


def taught_to_repair(out: Path) -> None:
    """The start of both: what it answers wrongly, with the error and the right program."""
    if (out / "runs" / "repairs" / "model").is_dir():
        return
    from bloomery.data.curated.workflow.data import pairs
    from bloomery.engine.native import NativeEngine
    from bloomery.engine.protocol import Sampling
    from bloomery.evals.prompts import Prompter
    from bloomery.models.load import load_model

    loaded = load_model(out / "runs" / "pairs" / "model")
    prompter, rows = Prompter(loaded.tokenizer, "auto"), list(pairs(seed=1, count=2500))
    asked = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    answers = NativeEngine(loaded).generate([prompter.prompt(one) for one in asked], Sampling(48, temperature=1.0))
    with (out / "repairs.jsonl").open("w") as file:
        for row, messages, answer in zip(rows, asked, answers, strict=True):
            said = loaded.tokenizer.decode(answer.body, skip_special_tokens=True).strip()
            verdict = check(said, row["metadata"])
            wrong = (
                []
                if verdict.ok
                else [
                    {"role": "assistant", "content": said or "?", "weight": 0},
                    {"role": "user", "content": f"! {verdict.reason}"},
                ]
            )
            right = {"role": "assistant", "content": row["response"]}
            file.write(json.dumps({"id": row["id"], "messages": [*messages, *wrong, right]}) + "\n")
    recipe = PAIRS.replace("posttrained", "runs/pairs").replace("builtin: workflow-pairs", "path: repairs.jsonl")
    run(out, "repairs", recipe)


def endpoint(out: Path, options: argparse.Namespace) -> None:
    with reward_server() as address:
        learn(out, "endpoint", options.seeds[0], options.steps or 400, REWARDS + graded_by(address) + rollouts())


def orchestrator(out: Path, options: argparse.Namespace) -> None:
    with orchestrators(2):
        recipe = REWARDS + rollouts(orchestrators=ADDRESS)
        learn(out, "orchestrator", options.seeds[0], options.steps or 300, recipe)


def chain_sum(out: Path, options: argparse.Namespace) -> None:
    """The easiest sums of reasoning-gym, after a little fine-tuning on the answers of others."""
    told = {"type": "reasoning-gym", "name": "chain_sum", "size": 3000, "config": EASIEST}
    told["python"] = options.reasoning_gym
    (out / "sums.yaml").write_text(REWARDS + f"trusted: true\nrollouts: {json.dumps({'environment': told})}\n")
    command = [BLOOMERY, "rl", "tasks", "sums.yaml", "--rows", "3000", "--out", "sums.jsonl"]
    subprocess.run(command, cwd=out, env=ENVIRONMENT, check=True)
    rows = list({row["prompt"]: row for row in map(json.loads, (out / "sums.jsonl").read_text().splitlines())}.values())
    taught = [row | {"response": str(row["reference_answer"])} for row in rows[:300]]
    (out / "taught.jsonl").write_text("".join(json.dumps(row) + "\n" for row in taught))
    (out / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[300:]))
    run(out, "sums-taught", PAIRS.replace("builtin: workflow-pairs", "path: taught.jsonl").replace("250k", "40k"))
    recipe = REWARDS.replace("builtin: workflow-pairs", "path: asked.jsonl").replace("runs/pairs", "runs/sums-taught")
    steps, seed = options.steps or 200, options.seeds[0]
    recipe += "trusted: true\n" + rollouts(max_tokens=8, watch=100, environment={**told, "turns": 1})
    name = f"chain_sum-{seed}"
    every = {"eval.every": f"{steps - 1} steps"}
    seconds = run(out, name, recipe, name=name, seeds=[seed], budget=f"{steps} steps", **every)
    held = [event["held_reward"] for event in events(out, name) if "held_reward" in event]
    first, last = tenth(out, name)
    say(
        out, part="chain_sum", seed=seed, steps=steps, seconds=round(seconds),
        reward=[round(first, 3), round(last, 3)], held_out=[round(value, 3) for value in held],
    )  # fmt: skip


EASIEST = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}


def failing(out: Path, options: argparse.Namespace) -> None:
    """The same learning twice, clean and with everything failing; then what the logs say of each rollout."""
    steps, seed = options.steps or 300, options.seeds[0]
    for share in (0.0, 0.3):
        name = f"{'failing' if share else 'clean'}-{seed}"
        if (out / "runs" / name / "model").is_dir():
            continue
        with reward_server(share) as address, orchestrators(2, 20.0 if share else None):
            recipe = REWARDS + graded_by(address)
            recipe += rollouts(orchestrators=ADDRESS, lease=4, attempts=4)
            (out / f"{name}.yaml").write_text(recipe)
            seconds = (
                _killed_once(out, name, seed, steps)
                if share
                else run(out, name, recipe, name=name, seeds=[seed], budget=f"{steps} steps")
            )
        first, last = tenth(out, name)
        say(
            out, part="failing", faults=share, seed=seed, steps=steps, seconds=round(seconds),
            reward=[round(first, 3), round(last, 3)], **audited(out, name),
            held_out=held_out(out, f"runs/{name}"),
        )  # fmt: skip


def _killed_once(out: Path, name: str, seed: int, steps: int) -> float:
    began = time.monotonic()
    with (out / f"{name}.log").open("a") as log:
        given = [f"name={name}", f"seeds=[{seed}]", f"budget={steps} steps"]
        command = [BLOOMERY, "run", f"{name}.yaml", *given]
        first = subprocess.Popen(command, cwd=out, env=ENVIRONMENT, stderr=log, stdout=log, start_new_session=True)
        while first.poll() is None and _steps_done(out, name) < steps // 2:
            time.sleep(0.5)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        subprocess.run([BLOOMERY, "resume", name], cwd=out, env=ENVIRONMENT, stderr=log, stdout=log, check=True)
    return time.monotonic() - began


def _steps_done(out: Path, name: str) -> int:
    path = out / "runs" / name / "events.jsonl"
    return sum('"event": "step"' in line for line in path.read_text().splitlines()) if path.is_file() else 0


def audited(out: Path, name: str) -> dict[str, Any]:
    """Of every rollout's record: how many could not be scored, whether one of these or one of too small a group was
    trained, whether each baseline is the mean of the scored ones, and whether a rollout was trained twice."""
    found: dict[str, Any] = {"rollouts": 0, "unscorable": 0, "unscorable_trained": 0, "wrong_baselines": 0}
    seen: set[tuple[str, int]] = set()
    twice = 0
    for path in sorted((out / "runs" / name / "rollouts").glob("step-*.jsonl")):
        groups: dict[str, list[dict[str, Any]]] = {}
        for one in map(json.loads, path.read_text().splitlines()):
            groups.setdefault(one["group"], []).append(one)
        for group in groups.values():
            scored = [one["reward"] for one in group if one["reward"] is not None]
            for one in group:
                found["rollouts"] += 1
                found["unscorable"] += one["reward"] is None
                trained = one["why"] == "trained"
                found["unscorable_trained"] += trained and one["reward"] is None
                if trained:
                    told = (one["reward"] - statistics.mean(scored)) / (statistics.stdev(scored) + 1e-4)
                    found["wrong_baselines"] += abs(told - one["advantage"]) > 1e-5
                    key = (one["group"], one["number"])
                    twice += key in seen
                    seen.add(key)
    return found | {"trained_twice": twice}


def graded_by(address: str) -> str:
    return f"reward: {{type: endpoint, url: '{address}/score', private: true, range: [0, 1], batch: 4, seconds: 1}}\n"


@contextmanager
def reward_server(faults: float = 0.0) -> Iterator[str]:
    """A server that runs programs; a part of its calls hangs, or is answered with something else than a score."""
    chance = random.Random(0)
    bodies: Sequence[bytes] = (b"<html>busy</html>", b"[]", b'[{"id": "x", "aggregate_reward_score": NaN}]', b"7")

    class Reward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            items = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if chance.random() < faults:
                if chance.random() < 0.5:
                    time.sleep(2)
                    return
                body = chance.choice(bodies)
            else:
                body = json.dumps([{"id": one["id"], "aggregate_reward_score": worth(one)} for one in items]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with 5, connections of one step wait a second for their turn

    server = Server(("127.0.0.1", 0), Reward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def worth(item: dict[str, Any]) -> float:
    return float(check(item["messages"][-1]["content"].strip(), item["metadata"]).ok)


@contextmanager
def orchestrators(count: int, killed_every: float | None = None) -> Iterator[None]:
    """Processes that make rollouts; each is killed after so many seconds, and another takes its place."""
    over = threading.Event()

    def keep() -> None:
        while not over.is_set():
            process = subprocess.Popen([sys.executable, str(HERE / "rl_orchestrator.py")], env=ENVIRONMENT)
            over.wait(killed_every)
            process.kill()
            process.wait()

    threads = [threading.Thread(target=keep) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "single": single, "repair": repair, "chain_sum": chain_sum, "endpoint": endpoint, "orchestrator": orchestrator,
    "failing": failing,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--reasoning-gym", help="Python of an environment that has reasoning-gym")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:  # the gateway's port must be free before an hour is spent
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(PORT)))
    fine_tuned(options.out)
    for part in options.parts:
        PARTS[part](options.out, options)


if __name__ == "__main__":
    main()
