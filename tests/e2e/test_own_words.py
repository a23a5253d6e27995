"""Replay that a start samples itself: the same whenever it is sampled, kept in the cache, and marked for what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import bloomery

from bloomery.recipes import own_words
from bloomery.recipes.own_words import _new


def base_model(here: Path) -> None:
    """The tiny model without a chat template, which makes it a base model."""
    folder = Path(shutil.copytree(here / "tiny", here / "base"))
    for name in ("chat_template.jinja", "manifest.json"):
        (folder / name).unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "chat_template"}))


def test_a_start_is_replayed_its_own_words(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    base_model(here)
    done = bloomery("run", "recipe.yaml", "name=own", "model=base", "data.curated=self", within=here)
    assert done.status == 0, done.err
    assert "sampling about" in done.err
    receipt = json.loads((here / "runs" / "own" / "data-receipt.json").read_text())
    told = receipt["categories"]["self-generated"]
    assert told["share"] == pytest.approx(0.5, abs=0.06) and told["sources"] == ["self"]
    assert receipt["curated"]["mix"] == "self" and receipt["curated"]["sampled"]["tokens"] > 0
    for page in ("report.md", "model/README.md"):
        assert "elf-generated: sampled from the start checkpoint" in (here / "runs" / "own" / page).read_text(), page
    assert "What was mixed in" in (here / "runs" / "own" / "report.html").read_text()

    parts = {path: path.read_bytes() for path in (tmp_path / "cache" / "self").rglob("part-*.jsonl")}
    lost = max(parts)  # as if it had been interrupted there
    lost.unlink()
    again = bloomery("run", "recipe.yaml", "name=again", "model=base", "data.curated=self", within=here)
    assert again.status == 0, again.err
    assert {path: path.read_bytes() for path in parts} == parts
    third = bloomery("run", "recipe.yaml", "name=third", "model=base", "data.curated=self", within=here)
    assert "sampling about" not in third.err


def test_a_start_that_says_nothing_new_is_refused(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own_words, "BARREN", 2)
    base_model(here)
    monkeypatch.setattr(own_words, "_new", lambda rows, said: ([], own_words.Counter()))
    told = bloomery("run", "recipe.yaml", "name=mute", "model=base", "data.curated=self", within=here)
    assert told.status == 2
    assert "`base` says nothing new after 0 tokens" in told.err and "curated: proxy" in told.err


def test_empty_and_repeated_rows_are_dropped_and_counted() -> None:
    words = "iron ore is smelted with charcoal in a clay furnace until a bloom can be drawn from it"
    rows = [{"text": text, "tokens": 20} for text in (words, f"{words} today", "rain falls on green hills all day")]
    kept, dropped = _new(iter([*((row, "") for row in rows), (None, "empty")]), set())
    assert [row["text"] for row in kept] == [words, "rain falls on green hills all day"]
    assert dropped == {"near-duplicate": 1, "empty": 1}
