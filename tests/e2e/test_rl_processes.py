"""A training by rewards in two processes is that of one: the same tasks, answers and curve, also after a kill."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from killed import start, wait
from orchestrating import KEY, one_turn, orchestrate
from tiny import bloomery, weights, workshop
from together import places

from bloomery.core.events import read_events

pytestmark = [pytest.mark.multi, pytest.mark.timeout(300)]
RECIPE = """\
model: tiny
objective: rl
data:
  domain: [{path: pairs.jsonl}]
  curated: [{path: general.jsonl}]
  share: 60%
reward: {type: regex, pattern: "[aeiou]{2}"}
rollouts:
  group: 4
  tasks: 3
  max_tokens: 6
  advantage: batch_std
  go: anyway
  temperature: 0.8
  overlong_buffer: 3
  resample: 1
  kl: 0.05
  kl_every: 2
  watch: 4
schedule: {kind: constant, lr: 4e-3}
budget: 5 steps
checkpoints: {every: 2 steps}
eval: {suites: none}
memory: {device: cpu, precision: fp32}
threads: 1
steps: [train, export]
"""
"""Whatever is of a whole step, or draws by itself, must come out as it does in one process."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def two(here: Path, *arguments: str, killed: int | None = None) -> list[int]:
    """The exit statuses of two processes that do a verb together; one may kill itself in its fourth step."""
    started = []
    for rank, place in enumerate(places()):
        at = "bloomery.train.trainer:train_step" if killed == rank else ""
        with pytest.MonkeyPatch.context() as environment:
            for name, value in place.items():
                environment.setenv(name, value)
            started.append(start(here, *arguments, at=at, times=4))
    return [wait(one) for one in started]


def said(here: Path) -> str:
    return (here / "said-0.txt").read_text()


@pytest.fixture(scope="module")
def runs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs `alone`, by one process, and `two`, by two."""
    here = workshop(tmp_path_factory.mktemp("processes") / "work", model)
    (here / "rl.yaml").write_text(RECIPE)
    done = bloomery("run", "rl.yaml", "name=alone", within=here)
    assert done.status == 0, done.err
    assert two(here, "run", "rl.yaml", "name=two") == [0, 0], said(here)
    return here


def rollouts(run: Path) -> list[list[dict[str, Any]]]:
    files = sorted((run / "rollouts").iterdir())
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in files]


def figures(run: Path, event: str) -> list[dict[str, float]]:
    """An event's figures, step by step, but for how long it took."""
    timed = ("time", "seconds", "waited", "tokens_per_second", "mfu")
    return [
        {name: value for name, value in one.items() if isinstance(value, int | float) and name not in timed}
        for one in ({k: v for k, v in told.items() if not k.endswith("_s")} for told in events(run, event))
    ]


def events(run: Path, event: str) -> list[dict[str, Any]]:
    return [*read_events(run / "events.jsonl", event)]


def test_two_processes_sample_grade_and_train_what_one_does(runs: Path) -> None:
    alone, both = runs / "runs" / "alone", runs / "runs" / "two"
    assert len(rollouts(alone)) == 5
    for one, other in zip(rollouts(alone), rollouts(both), strict=True):
        for made, again in zip(one, other, strict=True):
            turns, others = made.pop("turns"), again.pop("turns")
            assert again == made
            for turn, same in zip(turns, others, strict=True):
                assert same.pop("logp") == pytest.approx(turn.pop("logp"), abs=1e-4)
                assert same == turn
    for event in ("base", "rollouts", "step", "validate"):
        for one, other in zip(figures(alone, event), figures(both, event), strict=True):
            assert other == pytest.approx(one, rel=1e-4, abs=1e-5), event
    told = figures(both, "rollouts")
    assert sum(one["resampled_groups"] for one in told) > 0 and "held_pass_1" in told[0] and told[2]["kl_start"] > 0
    assert any(one["loss_kl"] > 0 for one in figures(both, "step"))


def test_a_process_that_is_killed_ends_both_and_two_go_on_with_the_same_bytes(runs: Path) -> None:
    first, second = two(runs, "run", "rl.yaml", "name=killed", killed=1)
    assert second == -signal.SIGKILL and first not in (0, -signal.SIGKILL)
    assert two(runs, "resume", "killed") == [0, 0], said(runs)
    run, whole = runs / "runs" / "killed", runs / "runs" / "two"
    assert [one["step"] for one in events(run, "resume")] == [2]
    assert weights(run) == weights(whole)
    for path in (whole / "rollouts").iterdir():
        assert path.read_bytes() == (run / "rollouts" / path.name).read_bytes()


def test_orchestrators_come_to_the_first_process_and_both_train_what_they_made(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, stop, heard = free_port(), threading.Event(), list[int]()
    monkeypatch.setenv("BLOOMERY_TOKEN", KEY)
    worker = threading.Thread(target=orchestrate, args=(port, stop, one_turn(heard)), daemon=True)
    worker.start()
    more = [f"rollouts.orchestrators=127.0.0.1:{port}", "rollouts.resample=0", "rollouts.watch=0", "budget=3 steps"]
    ended = two(runs, "run", "rl.yaml", "name=outside", *more, "rollouts.staleness=1")
    stop.set()
    worker.join(30)
    assert ended == [0, 0], said(runs)
    told = figures(runs / "runs" / "outside", "rollouts")
    assert [one["unscorable"] for one in told] == [0, 0, 0] and all(one["rollouts"] >= 4 for one in told)
    assert [one["staleness_high"] for one in told] == [0, 1, 1] and set(heard) == {403}
    ratios = [one["policy_ratio"] for one in figures(runs / "runs" / "outside", "step") if "policy_ratio" in one]
    assert abs(ratios[0] - 1) < 1e-4 and len(ratios) == 3


def test_what_needs_one_process_is_refused_by_its_key(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for change, key in (("rollouts.workers=1", "workers"), ("rollouts.staleness=2", "staleness")):
        also = ["rollouts.orchestrators=127.0.0.1:8100"] if key == "staleness" else []
        monkeypatch.setenv("BLOOMERY_TOKEN", KEY)
        refused = bloomery("explain", "rl.yaml", change, *also, within=runs)
        text = " ".join((refused.out + refused.err).split())
        assert refused.status == 2 and f"`rollouts.{key}" in text and "processes of this run" in text
