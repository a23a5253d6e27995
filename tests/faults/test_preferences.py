"""A run by preferences that is killed, while the start is asked or later, ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed import run_to
from tiny import bloomery, preference_rows, weights, write_rows

RUN = ("run", "preferences.yaml", "name=one")


@pytest.fixture
def pairs(here: Path) -> Path:
    write_rows(here / "pairs.jsonl", preference_rows(0, 80))
    text = (here / "recipe.yaml").read_text().replace("domain.jsonl", "pairs.jsonl").replace("heldout.jsonl", "none")
    (here / "preferences.yaml").write_text(text.replace("eval: none", "steps: [train, export]"))
    return here


@pytest.mark.slow
def test_killed_and_resumed_learns_the_same_preferences(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pairs / "cache"))
    assert bloomery("run", "preferences.yaml", "name=whole", within=pairs).status == 0
    reference = pairs / "runs" / "one" / "reference"
    assert run_to(pairs, *RUN, at="bloomery.core.files:publish_folder") < 0  # the stores are there: it is the reference
    assert not reference.exists() and len(list(reference.parent.glob(".reference*"))) == 1
    assert run_to(pairs, "resume", "one", at="bloomery.train.step:clip", times=6) < 0
    assert reference.is_dir() and not list(reference.parent.glob(".reference*"))
    before = (reference / "logp.safetensors").stat().st_mtime_ns
    told = bloomery("resume", "one", within=pairs)
    assert told.status == 0, told.err
    assert (reference / "logp.safetensors").stat().st_mtime_ns == before
    assert weights(pairs / "runs" / "one") == weights(pairs / "runs" / "whole")


def test_a_damaged_reference_stops_the_resumed_run_and_names_it(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pairs / "cache"))
    assert run_to(pairs, *RUN, at="bloomery.train.step:clip", times=5) < 0
    file = pairs / "runs" / "one" / "reference" / "logp.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    told = bloomery("resume", "one", within=pairs)
    assert told.status != 0 and "logp.safetensors" in told.err and "the start works it out again" in told.err
