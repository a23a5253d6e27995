"""Rollouts that are collected ahead: by a worker or here the same bytes, by orchestrators whom this side grades."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest
from fake_vllm import fake_vllm
from killed import start, wait
from orchestrating import KEY, one_turn, orchestrate
from tiny import bloomery, weights

RECIPE = """\
model: tiny
objective: rl
data:
  domain: [{path: pairs.jsonl}]
  curated: [{path: general.jsonl}]
  share: 60%
reward: {type: regex, pattern: "[aeiou]{2}"}
rollouts: {group: 4, tasks: 2, max_tokens: 6, staleness: 1, go: anyway}
schedule: {kind: constant, lr: 4e-3}
budget: 5 steps
eval: {suites: none}
memory: {device: cpu, precision: fp32}
threads: 1
steps: [train, export]
"""


def events(run: Path) -> list[dict[str, float]]:
    path = run / "events.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [event for event in found if event["event"] == "rollouts"]


def test_a_worker_changes_nothing_but_the_place_where_answers_are_sampled(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE)
    runs = here / "runs"
    for change in ("name=here", "name=worker"):
        more = ["rollouts.workers=1"] if change == "name=worker" else []
        done = bloomery("run", "rl.yaml", change, *more, within=here)
        assert done.status == 0, done.err
    assert [event["staleness"] for event in events(runs / "here")] == [0, 1, 1, 1, 1]
    assert weights(runs / "worker") == weights(runs / "here") and not (runs / "worker" / "policy").exists()
    for path in (runs / "here" / "rollouts").iterdir():
        assert path.read_bytes() == (runs / "worker" / "rollouts" / path.name).read_bytes()
    refused = bloomery("explain", "rl.yaml", "rollouts.staleness=2", within=here)
    assert refused.status == 2 and "more is for `orchestrators`" in " ".join(refused.out.split())


def test_a_worker_of_adapters_gives_the_bytes_that_none_gives(here: Path) -> None:
    (here / "rl.yaml").write_text(RECIPE.replace("budget: 5", "method: lora\nlora: {rank: 4}\nbudget: 3"))
    runs = here / "runs"
    for more in (["name=here"], ["name=worker", "rollouts.workers=1"]):
        done = bloomery("run", "rl.yaml", "rollouts.staleness=0", "steps=[train]", *more, within=here)
        assert done.status == 0, done.err
    assert [event["staleness"] for event in events(runs / "worker")] == [0, 0, 0]
    written = [path.relative_to(runs / "here") for path in (runs / "here").rglob("*.safetensors")]
    written += [path.relative_to(runs / "here") for path in (runs / "here" / "rollouts").iterdir()]
    assert len(written) >= 4, written
    for name in written:
        assert (runs / "here" / name).read_bytes() == (runs / "worker" / name).read_bytes(), name
    refused = bloomery("explain", "rl.yaml", "rollouts.workers=1", "method=qlora", within=here)
    assert "write `method: lora`" in " ".join(refused.out.split())


def test_orchestrators_are_ahead_and_their_rollouts_are_graded_here(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = f"staleness: 3, orchestrators: '127.0.0.1:{port}'"
    (here / "rl.yaml").write_text(RECIPE.replace("staleness: 1", told))
    monkeypatch.setenv("BLOOMERY_TOKEN", KEY)
    stop, heard = threading.Event(), list[int]()
    worker = threading.Thread(target=orchestrate, args=(port, stop, one_turn(heard)), daemon=True)
    worker.start()
    done = bloomery("run", "rl.yaml", within=here)
    stop.set()
    worker.join(30)
    assert done.status == 0, done.err
    found = events(here / "runs" / "rl")
    assert len(found) == 5 and all(event["unscorable"] == 0 and 0 <= event["reward"] <= 1 for event in found)
    assert max(event["staleness_high"] for event in found) <= 3
    assert set(heard) == {403}, "rewards are given here, and a session's key gives none"


def test_orchestrators_are_answered_by_a_vllm_server_with_the_adapters_in_training(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("BLOOMERY_TOKEN", KEY)
    stop, heard = threading.Event(), list[int]()
    worker = threading.Thread(target=orchestrate, args=(port, stop, one_turn(heard)), daemon=True)
    with fake_vllm(here / "tiny", KEY) as (fake, url):
        server = f"engine: vllm, server: {{url: '{url}', token: {{env: BLOOMERY_TOKEN}}}}"
        told = RECIPE.replace("staleness: 1", f"orchestrators: '127.0.0.1:{port}', {server}")
        (here / "rl.yaml").write_text(told.replace("budget: 5", "method: lora\nlora: {rank: 4}\nbudget: 3"))
        worker.start()
        done = bloomery("run", "rl.yaml", "steps=[train]", within=here)
        stop.set()
        worker.join(30)
    assert done.status == 0, done.err
    found = events(here / "runs" / "rl")
    assert [event["unscorable"] for event in found] == [0, 0, 0] and max(e["staleness_high"] for e in found) == 1
    assert len(set(fake.loaded)) == 4 and fake.engine.adapters.names == ()
    sampled = fake.answers[2:]  # after those that find out which log-probabilities it tells
    assert all(asked == newest != "" for asked, newest, _ in sampled), "nobody samples before there are weights"


def test_a_run_that_waits_for_orchestrators_stops_when_it_is_asked_to_and_goes_on_later(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (here / "rl.yaml").write_text(RECIPE.replace("staleness: 1", f"orchestrators: '127.0.0.1:{port}'"))
    monkeypatch.setenv("BLOOMERY_TOKEN", KEY)
    run = start(here, "run", "rl.yaml")
    stop, few = threading.Event(), list[int]()
    worker = threading.Thread(target=orchestrate, args=(port, stop, one_turn(few)), daemon=True)
    worker.start()
    while len(events(here / "runs" / "rl")) < 2 and run.is_alive():
        time.sleep(0.05)
    stop.set()
    worker.join(30)  # nobody makes rollouts any more
    run.terminate()
    assert wait(run) != 0, (here / "said.txt").read_text()
    saved = sorted((here / "runs" / "rl" / "checkpoints").glob("step-*"))
    assert saved and int(saved[-1].name.removeprefix("step-")) >= 1
    again = threading.Thread(target=orchestrate, args=(port, done := threading.Event(), one_turn(few)), daemon=True)
    again.start()
    resumed = bloomery("resume", "rl", within=here)
    done.set()
    again.join(30)
    assert resumed.status == 0, resumed.err
    assert {event["step"] for event in events(here / "runs" / "rl")} == {0, 1, 2, 3, 4}
