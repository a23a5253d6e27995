"""A run takes as much of remote curated data as it needs, says what that was, and does without a network afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Hub, serving
from tiny import FAMILY, RECIPE, bloomery, documents

COMMIT, LATER = "a" * 40, "b" * 40
HEAD = RECIPE.removeprefix("model: tiny\n").replace("  curated: [{path: general.jsonl}]\n", "")
SHARDS, ROWS = 8, 4_000


@pytest.fixture
def hub(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with a data set of eight files, which family `toy` continues from; an empty cache."""
    for shard in range(SHARDS):
        rows = "".join(json.dumps(row) + "\n" for row in documents("general", shard * ROWS, ROWS))
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub" / "data" / f"part-{shard}.jsonl").write_text(rows)
    text = FAMILY.replace("path: ../general.jsonl", "hf: org/general").replace(", licence: CC0-1.0", "")
    (here / "families" / "toy.yaml").write_text(text)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    monkeypatch.setattr("bloomery.data.hubfiles.BLOCK", 8192)
    commits = {("org/general", revision): COMMIT for revision in ("main", COMMIT)}
    with serving(Hub({"org/general": tmp_path / "hub"}, commits)) as found:
        found.cards["org/general"] = {"license": "cc-by-4.0"}
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def run(here: Path, name: str, *changes: str) -> Any:
    (here / "recipe.yaml").write_text(f"family: toy\nstart: hot\nsteps: [train]\n{HEAD}")
    return bloomery("run", "recipe.yaml", f"name={name}", *changes, within=here)


def plan(here: Path, name: str) -> dict[str, Any]:
    return json.loads((here / "runs" / name / "plan.json").read_text())["values"]


def test_a_run_fetches_what_it_takes_and_says_what_that_was(here: Path, hub: Hub) -> None:
    told = run(here, "one")
    assert told.status == 0, told.err
    assert "fetching general: about 100,000 tokens" in told.err
    assert hub.sent < sum(path.stat().st_size for path in hub.models["org/general"].rglob("*.jsonl")) / 4
    source = json.loads((here / "runs" / "one" / "data-receipt.json").read_text())["sources"]["general"]
    assert source["fetched"]["commit"] == COMMIT and source["fetched"]["licence"] == "cc-by-4.0"
    assert source["fetched"]["from"] == [f"hf://org/general@{COMMIT}"]
    names = {f"hf://org/general@{COMMIT}/data/part-{shard}.jsonl" for shard in range(SHARDS)}
    assert set(source["fetched"]["files"]) <= names and len(source["fetched"]["files"]) > 1
    assert sum(source["fetched"]["files"].values()) == source["rows"]["read"]
    spec = next(s for s in plan(here, "one")["sources"]["value"] if s["name"] == "general")["spec"]
    assert (spec["take"], spec["revision"]) == (100_000, COMMIT)


def test_afterwards_the_same_needs_no_network_and_more_says_how_much_and_how(
    here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(here, "one").status == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.commits["org/general", "main"] = LATER
    requests = hub.requests
    assert run(here, "two").status == 0
    identity = [json.loads((here / "runs" / n / "data-receipt.json").read_text())["sources"] for n in ("one", "two")]
    assert identity[0] == identity[1]
    told = run(here, "three", "budget=500k tokens")
    assert told.status == 2
    said = " ".join(told.err.split())
    assert "of 250,000 tokens are in the cache" in said and "are missing, and the network is forbidden" in said
    assert "bloomery families fetch toy --stage hot --tokens 250000" in said
    assert not (here / "runs" / "three").exists()
    assert hub.requests == requests


def test_explain_says_how_much_would_be_fetched_and_fetches_nothing(here: Path, hub: Hub) -> None:
    (here / "recipe.yaml").write_text(f"family: toy\nstart: hot\nsteps: [train]\n{HEAD}")
    told = bloomery("explain", "recipe.yaml", "budget=500k tokens", "data.repetition_cap=1000", "--json", within=here)
    assert told.status == 0, told.err
    assert json.loads(told.out)["plan"]["values"]["curated.fetched"]["value"] == {"general": 250_000}
    assert hub.requests == 0


def test_a_dead_hub_ends_the_run_with_what_is_missing(here: Path, hub: Hub) -> None:
    hub.dead = True
    told = run(here, "one")
    assert told.status == 2
    said = " ".join(told.err.split())
    assert "0 of 100,000 tokens are in the cache, 100,000 are missing" in said
    assert (
        "cannot be fetched from the Hub" in said and "bloomery families fetch toy --stage hot --tokens 100000" in said
    )


def test_a_domain_on_another_machine_is_read_before_what_is_taken_of_the_rest_is_decided(here: Path, hub: Hub) -> None:
    rows = (here / "domain.jsonl").resolve()
    told = run(here, "one", f"data.domain=[{{path: 'file://{rows}', take: 2k tokens}}]", "budget=2 epochs")
    assert told.status == 0, told.err
    (domain, curated) = plan(here, "one")["sources"]["value"]
    assert domain["spec"]["take"] == 2_000 and curated["spec"]["take"] == 100_000
    assert plan(here, "one")["budget.tokens"]["value"] > 4_000
