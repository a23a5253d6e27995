"""Rollouts by a vLLM server: each step by the adapters that it should be, and what cannot work refused by its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_vllm import fake_vllm
from tiny import bloomery

TOKEN = "the-token-of-the-server"
RECIPE = """\
model: tiny
objective: rl
method: lora
lora: {rank: 4}
data:
  domain: [{path: pairs.jsonl}]
  curated: [{path: general.jsonl}]
  share: 60%
reward: {type: regex, pattern: "[aeiou]{2}"}
rollouts: {group: 4, tasks: 2, max_tokens: 6, temperature: 0.8, engine: vllm, go: anyway, server: SERVER}
schedule: {kind: constant, lr: 4e-2}
budget: 4 steps
eval: {suites: none}
memory: {device: cpu, precision: fp32}
threads: 1
steps: [train]
"""


def test_a_server_samples_each_step_with_the_adapters_of_its_version(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    with fake_vllm(here / "tiny", TOKEN) as (fake, url):
        (here / "rl.yaml").write_text(RECIPE.replace("SERVER", f"{{url: '{url}', token: {{env: THE_TOKEN}}}}"))
        done = bloomery("run", "rl.yaml", within=here)
    assert done.status == 0, done.err
    run = here / "runs" / "rl"
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [one["staleness"] for one in events if one["event"] == "rollouts"] == [0, 1, 1, 1]
    assert len(set(fake.loaded)) == len(fake.loaded) == 5 and fake.most == 2 and fake.engine.adapters.names == ()
    assert all(asked == newest for asked, newest, _ in fake.answers), "nobody samples with older adapters"
    served = {(asked.rpartition("-v")[2], ids) for asked, _, ids in fake.answers if asked}
    turns = [
        turn
        for path in sorted((run / "rollouts").iterdir())
        for line in path.read_text().splitlines()
        for turn in json.loads(line)["turns"]
    ]
    assert {(f"{turn['version']:08d}", tuple(turn["ids"])) for turn in turns} <= served and len(turns) >= 16
    assert not (run / "policy").exists() and TOKEN not in (run / "plan.json").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["method=full"],
            ["`method` is full fix: write `method: lora`, or `engine: native` with `workers`", "THE_TOKEN is"],
        ),
        (["rollouts.engine=native"], ["`rollouts.server` is a vLLM server, and `rollouts.engine` is native"]),
        (
            ["rollouts.workers=1", "rollouts.temperature=3", "rollouts.server.arguments=[--seed]", "lora.rank=600"],
            [
                "are processes of the native engine",
                "more than vLLM takes fix: set 2",
                "then set `trusted: true`",
                "`url` names one that runs",
                "600` is more than vLLM takes fix: set 512",
            ],
        ),
        (
            ["rollouts.server.url=null"],
            ["vLLM is not installed here", "`rollouts.server.token` is of a server that runs"],
        ),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_a_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], said: list[str]
) -> None:
    monkeypatch.delenv("THE_TOKEN", raising=False)
    monkeypatch.delenv("BLOOMERY_VLLM", raising=False)
    (here / "rl.yaml").write_text(RECIPE.replace("SERVER", "{url: 'http://127.0.0.1:9', token: {env: THE_TOKEN}}"))
    refused = bloomery("explain", "rl.yaml", *changes, within=here)
    told = " ".join(refused.out.split())
    assert refused.status == 2 and all(one in told for one in said), told
