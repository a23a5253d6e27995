"""A training by rewards from recipe to model: it moves towards what is rewarded, and goes on where it was killed."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from killed import run_to
from orchestrating import KEY, orchestrate
from tiny import bloomery, weights, write_rows

RECIPE = """\
model: tiny
objective: rl
data:
  domain: [{path: pairs.jsonl}]
  curated: [{path: general.jsonl}]
  share: 60%
reward: {type: regex, pattern: "[aeiou]{2}"}
rollouts: {group: 8, tasks: 3, max_tokens: 6, replay_weight: 0.1}
schedule: {kind: constant, lr: 4e-3}
budget: 12 steps
checkpoints: {every: 3 steps}
eval: {suites: none}
memory: {device: cpu, precision: fp32}
threads: 1
steps: [train, export]
"""


def rewards(run: Path) -> list[float]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["reward"] for event in events if event["event"] == "rollouts"]


def test_rewards_rise_and_every_rollout_can_be_seen(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE.replace("[train, export]", "[train, evaluate, export]"))
    done = bloomery("run", "rl.yaml", "budget=40 steps", "schedule.lr=1e-2", "rollouts.tasks=6", within=here)
    assert done.status == 0, done.err
    found = rewards(here / "runs" / "rl")
    assert len(found) == 40 and sum(found[:8]) / 8 < 0.8 and sum(found[-8:]) / 8 > 0.9
    told = bloomery("rl", "show", "rl", "--step", "0", "--tokens", within=here)
    assert told.status == 0 and "trained" in told.out and "reward" in told.out
    shown = json.loads(bloomery("rl", "show", "rl", "--json", within=here).out)
    assert shown["steps"] == list(range(40)) and len(shown["rollouts"]) >= 8
    turn = shown["rollouts"][0]["turns"][0]
    assert turn["version"] == 39 and len(turn["ids"]) == len(turn["logp"]) > 0
    some = bloomery("rl", "show", "rl", "--step", "0", "--sort=-reward", "--why", "trained", "--rows", "1", within=here)
    group = some.out.splitlines()[1].split()[0]
    none = bloomery("rl", "show", "rl", "--step", "0", "--why", "trainde", within=here)
    assert "none of" in none.out and "tasks: " in none.out and "trained" in none.out.splitlines()[-1]
    whole = bloomery("rl", "show", "rl", "--step", "0", "--group", group, within=here)
    assert "user: " in whole.out and f"--- {group} 7: reward" in whole.out
    said = (here / "runs" / "rl" / "report.md").read_text()
    assert "## Learning from rewards" in said and "The start: " in said and ", pass@4 |" in said
    drawn = bloomery("rl", "report", "rl", within=here)
    assert drawn.status == 0 and "<svg" in (here / drawn.out.strip()).read_text()
    late = bloomery("rl", "show", "rl", "--step", "77", within=here)
    assert late.status == 2 and "steps 0 to 39 are there" in late.err


EVERYTHING = """\
  temperature: 0.8
  overlong_buffer: 3
  resample: 2
  kl: 0.05
  kl_every: 2
  kl_cap: 1e-3
  watch: 4
"""
"""Whatever has a state, or draws by itself, must come back as it was."""


def test_killed_and_resumed_it_ends_with_the_same_bytes(here: Path) -> None:
    told = "rollouts:\n  group: 3\n  tasks: 3\n  max_tokens: 6\n  replay_weight: 0.1\n"
    recipe = RECIPE.replace("rollouts: {group: 8, tasks: 3, max_tokens: 6, replay_weight: 0.1}\n", told + EVERYTHING)
    (here / "rl.yaml").write_text(recipe)
    assert bloomery("run", "rl.yaml", "name=whole", within=here).status == 0
    assert run_to(here, "run", "rl.yaml", "name=killed", at="bloomery.train.trainer:train_step", times=8) == (
        -signal.SIGKILL
    )
    resumed = bloomery("resume", "killed", within=here)
    assert resumed.status == 0, resumed.err
    runs = here / "runs"
    assert weights(runs / "killed") == weights(runs / "whole")
    for path in sorted((runs / "whole" / "rollouts").iterdir()):
        assert path.read_bytes() == (runs / "killed" / "rollouts" / path.name).read_bytes()
    events = [json.loads(line) for line in (runs / "whole" / "events.jsonl").read_text().splitlines()]
    told = [event for event in events if event["event"] == "rollouts"]
    assert {0.0, 1.0} <= {event["rewards_wait"] for event in told}, "the cap neither held nor let go"
    assert sum(event["resampled_groups"] for event in told) > 0 and "held_pass_1" in told[0]
    steps = [event for event in events if event["event"] == "step"]
    assert any(event.get("loss_kl", 0) > 0 for event in steps)
    ratios = [event["policy_ratio"] for event in steps if "policy_ratio" in event]
    assert ratios and max(abs(ratio - 1) for ratio in ratios) < 1e-4, "sampler and trainer differ at a temperature"
    held = {event["step"] for event in told if event["rewards_wait"]}
    logs = [(runs / "whole" / "rollouts" / f"step-{step:06d}.jsonl").read_text() for step in held]
    whys = {json.loads(line)["why"] for text in logs for line in text.splitlines()}
    assert "towards the start: the KL is over its cap" in whys and "trained" not in whys


def attempt(http: httpx2.Client, told: dict[str, Any]) -> None:
    """What somebody's program does with a task: asks by openai's client, twice, and rewards vowels."""
    from openai import OpenAI

    client = OpenAI(base_url=f"{told['base_url']}/v1", api_key=told["session_key"])
    messages = [*told["task"]["messages"]]
    for again in ("Once more.", ""):
        answer = client.chat.completions.create(model="policy", messages=messages)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        messages += [{"role": "user", "content": again}] if again else []
    ready = {"status": "ready", "reward": len(set(messages[-1]["content"]) & set("aeiou")) / 5}
    done = f"{told['base_url']}/v1/orchestrator/rollouts/{told['rollout_id']}:complete"
    http.post(done, json=ready, headers={"x-api-key": told["session_key"]}).raise_for_status()


class RolloutServer(BaseHTTPRequestHandler):
    """A server of somebody else's that tasks are sent to."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        about = told["metadata"]
        with httpx2.Client(timeout=30) as http:
            attempt(http, {**about, "base_url": about["endpoint"], "task": told["instance"]})
        self._answer()

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_orchestrators_that_claim_and_servers_that_are_sent_to_drive_the_rollouts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    recipe = RECIPE.replace('reward: {type: regex, pattern: "[aeiou]{2}"}\n', "")
    server = ThreadingHTTPServer(("127.0.0.1", 0), RolloutServer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    push = f"push: {{url: 'http://127.0.0.1:{server.server_address[1]}', private: true, rate_limit: 1000}}"
    outside = f"orchestrators: '127.0.0.1:{port}', aws_keys: {{LAB: {{env: LAB_SECRET}}}}, {push}"
    recipe = recipe.replace("{group: 8, tasks: 3,", f"{{group: 4, tasks: 2, {outside},")
    (here / "rl.yaml").write_text(recipe.replace("budget: 12", "budget: 3"))
    refused = bloomery("explain", "rl.yaml", within=here)
    said = " ".join(refused.out.split())
    assert refused.status == 2 and "BLOOMERY_TOKEN is not set" in said and "LAB_SECRET is not set" in said
    monkeypatch.setenv("BLOOMERY_TOKEN", KEY)
    monkeypatch.setenv("LAB_SECRET", "the-secret-of-the-lab")
    lone = bloomery("explain", "rl.yaml", "rollouts.orchestrators=null", within=here)
    assert lone.status == 2 and "no gateway that they could call" in " ".join(lone.out.split())
    stop = threading.Event()
    worker = threading.Thread(target=orchestrate, args=(port, stop, attempt, 1), daemon=True)
    worker.start()
    done = bloomery("run", "rl.yaml", within=here)
    stop.set()
    worker.join(30)
    server.shutdown()
    assert done.status == 0, done.err
    with sqlite3.connect(here / "runs" / "rl" / "journal.sqlite") as journal:
        assert {worker for (worker,) in journal.execute("select worker from attempt")} == {"w", "push"}
    shown = [json.loads(bloomery("rl", "show", "rl", "--step", str(n), "--json", within=here).out) for n in range(3)]
    rollouts = [one for step in shown for one in step["rollouts"]]
    assert all(one["reward"] is not None and len(one["turns"]) == 2 for one in rollouts)
    assert {turn["kind"] for one in rollouts for turn in one["turns"]} == {"clean"}
    assert any(one["why"] == "trained" for one in rollouts)
    assert [turn["version"] for turn in shown[2]["rollouts"][0]["turns"]] == [2, 2]


def test_a_start_that_gets_nothing_right_is_refused_before_its_first_step(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE.replace("[aeiou]{2}", "zzzz").replace("12 steps", "1 steps"))
    refused = bloomery("run", "rl.yaml", within=here)
    assert refused.status == 2 and not (here / "runs" / "rl" / "rollouts").exists()
    assert "gets no task right" in refused.err and "fine-tune it first" in refused.err
    assert "0% right [0%, " in refused.err
    anyway = bloomery("run", "rl.yaml", "name=anyway", "rollouts.go=anyway", within=here)
    assert anyway.status == 0 and "goes on by `rollouts.go: anyway`" in anyway.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('reward: {type: regex, pattern: "[aeiou]{2}"}\n', "learns from rewards, and there is no `reward`"),
        ("objective: rl\n", "`reward` is set, but `objective` is sft"),
    ],
)
def test_half_of_what_it_needs_is_refused(here: Path, change: str, said: str) -> None:
    (here / "rl.yaml").write_text(RECIPE.replace(change, ""))
    told = bloomery("explain", "rl.yaml", within=here)
    assert told.status == 2 and said in " ".join(told.out.split())


def test_two_tasks_of_one_id_are_refused_before_the_first_step(here: Path) -> None:
    rows = [
        json.loads(line) | {"id": f"t{n // 2}"}
        for n, line in enumerate((here / "pairs.jsonl").read_text().splitlines())
    ]
    write_rows(here / "twice.jsonl", rows)
    (here / "rl.yaml").write_text(RECIPE.replace("pairs.jsonl", "twice.jsonl"))
    refused = bloomery("run", "rl.yaml", within=here)
    assert refused.status == 2 and "twice.jsonl:2: the row's `id: t0` is that of row 1, too" in refused.err, refused.err
    assert not (here / "runs" / "rl" / "rollouts").exists()


def test_rows_without_a_task_are_refused_and_so_is_an_unknown_setting(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE.replace("pairs.jsonl", "domain.jsonl"))
    said = bloomery("explain", "rl.yaml", within=here).out
    assert "takes tasks, and `domain` holds rows of the shape `text`" in " ".join(said.split())
    (here / "rl.yaml").write_text(RECIPE.replace("max_tokens: 6", "max_token: 6"))
    assert "max_tokens" in bloomery("explain", "rl.yaml", within=here).err
