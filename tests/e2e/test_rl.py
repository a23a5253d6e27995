"""A training by rewards from recipe to model: it moves towards what is rewarded, and goes on where it was killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from killed import run_to
from tiny import bloomery, weights

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
    (here / "rl.yaml").write_text(RECIPE)
    done = bloomery("run", "rl.yaml", "budget=30 steps", "schedule.lr=2e-2", within=here)
    assert done.status == 0, done.err
    found = rewards(here / "runs" / "rl")
    assert len(found) == 30 and sum(found[:6]) / 6 < 0.8 and sum(found[-6:]) / 6 > 0.9
    told = bloomery("rl", "show", "rl", "--step", "0", "--tokens", within=here)
    assert told.status == 0 and "trained" in told.out and "reward" in told.out
    shown = json.loads(bloomery("rl", "show", "rl", "--json", within=here).out)
    assert shown["steps"] == list(range(30)) and len(shown["rollouts"]) >= 8
    turn = shown["rollouts"][0]["turns"][0]
    assert turn["version"] == 29 and len(turn["ids"]) == len(turn["logp"]) > 0
    late = bloomery("rl", "show", "rl", "--step", "77", within=here)
    assert late.status == 2 and "steps 0 to 29 are there" in late.err


def test_killed_and_resumed_it_ends_with_the_same_bytes(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE)
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


def test_rows_without_a_task_are_refused_and_so_is_an_unknown_setting(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE.replace("pairs.jsonl", "domain.jsonl"))
    said = bloomery("explain", "rl.yaml", within=here).out
    assert "takes tasks, and `domain` holds rows of the shape `text`" in " ".join(said.split())
    (here / "rl.yaml").write_text(RECIPE.replace("max_tokens: 6", "max_token: 6"))
    assert "max_tokens" in bloomery("explain", "rl.yaml", within=here).err
