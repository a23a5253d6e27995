"""Laws of `families fetch`: the mix of a stage in its shares, offline afterwards, and said with licence and size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import Hub, serving
from tiny import Told, bloomery, documents, write_rows

COMMIT, TOKEN = "a" * 40, "hf_a-token-that-is-not-told"
FAMILY = """\
name: far
title: Far
licence: MIT
architecture: LlamaForCausalLM
parameters: 150k
context: 128
tokenizer: hub
default_start: late
checkpoints:
  early: {repo: org/model, revision: main, tokens: 1M}
  late: {repo: org/model, revision: main, tokens: 2M, curated: mixed}
curated:
  mixed:
    - {name: pages, hf: org/pages, share: 60%}
    - {name: books, hf: org/books, share: 30%, licence: CC0-1.0}
    - {name: made, builtin: skills, share: 10%}
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Two data sets, one gated; a family that mixes them; an empty cache."""
    for name, rows in (("pages", 40_000), ("books", 500)):
        (tmp_path / name / "data").mkdir(parents=True)
        for shard in range(4):
            path = tmp_path / name / "data" / f"part-{shard}.jsonl"
            write_rows(path, documents("general", shard * rows, rows // 4, words=60))
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "far.yaml").write_text(FAMILY)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OUR_HUB_TOKEN", TOKEN)
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    folders = {f"org/{name}": tmp_path / name for name in ("pages", "books")}
    commits = {(repo, revision): COMMIT for repo in folders for revision in ("main", COMMIT)}
    with serving(Hub(folders, commits, {"org/books": TOKEN})) as found:
        found.cards["org/pages"] = {"license": "odc-by"}
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def fetch(here: Path, *options: str) -> Told:
    return bloomery("families", "fetch", "far", *options, within=here)


def test_a_mix_is_fetched_in_its_shares_and_a_second_time_without_a_network(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--tokens", "1M", "--token-env", "OUR_HUB_TOKEN", "--json")
    told = fetch(tmp_path, *asked)
    assert told.status == 0, told.err
    pages, books = json.loads(told.out)["cached"]
    assert (pages["source"], pages["licence"], pages["commit"]) == ("pages", "odc-by", COMMIT)
    assert 600_000 <= pages["tokens"] < 610_000 and not pages["whole"]
    assert (books["source"], books["licence"], books["whole"], books["rows"]) == ("books", "CC0-1.0", True, 500)
    assert TOKEN not in told.out + told.err
    requests = hub.requests
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert json.loads(fetch(tmp_path, *asked).out) == json.loads(told.out)
    assert json.loads(fetch(tmp_path, "--tokens", "300k", "--json").out) == json.loads(told.out)
    assert hub.requests == requests


def test_show_says_what_is_cached(tmp_path: Path, hub: Hub) -> None:
    assert "in the cache" not in bloomery("families", "show", "far", within=tmp_path).out
    said = fetch(tmp_path, "--stage", "late", "--tokens", "200k", "--token-env", "OUR_HUB_TOKEN").out
    assert "pages" in said and "odc-by" in said and "MB" in said and f"org/pages@{COMMIT[:12]}" in said
    shown = bloomery("families", "show", "far", within=tmp_path).out
    assert "in the cache" in shown and shown.endswith(said)


def test_what_cannot_be_fetched_is_told_and_what_came_before_it_stays(tmp_path: Path, hub: Hub) -> None:
    told = fetch(tmp_path, "--tokens", "200k")
    assert told.status == 2
    said = " ".join(told.err.split())
    assert "`books`: 0 of 100,000 tokens are in the cache" in said
    assert "the Hub keeps `org/books` for accounts that accepted its licence" in said
    assert "pages" in bloomery("families", "show", "far", within=tmp_path).out.partition("in the cache")[2]


def test_offline_the_fix_is_what_helps_and_no_download_into_another_cache(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = " ".join(fetch(tmp_path, "--tokens", "200k").err.split())
    assert "fix: unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE" in said and "hf download" not in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--stage", "early"), "the family `far` has no curated data for `early`"),
        (("--stage", "lat"), "the family `far` has no checkpoint `lat`"),
        (("--tokens", "2 epochs"), "is in epochs"),
        (("--tokens", "many"), "`--tokens: many"),
        (("--token-env", "NOT_SET_HERE"), "NOT_SET_HERE is not set"),
    ],
)
def test_bad_options_are_refused_by_name(tmp_path: Path, hub: Hub, options: tuple[str, ...], says: str) -> None:
    told = fetch(tmp_path, *options)
    assert (told.status, says in " ".join(told.err.split())) == (2, True), told.err
    assert hub.requests == 0
