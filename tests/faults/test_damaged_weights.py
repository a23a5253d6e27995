"""Weights of ours that changed on disk are refused by every verb that opens them, unless changed on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import bloomery

from bloomery.core.errors import DamagedError
from bloomery.core.files import MANIFEST, verify_ours
from bloomery.lineage.provenance import model_hash

VERBS = {
    "run": ("run", "recipe.yaml", "name=broken"),
    "ask": ("ask", "tiny", "Anybody?", "--tokens", "4"),
    "eval": ("eval", "tiny", "--data", "heldout.jsonl"),
    "compare": ("compare", "whole", "tiny", "--data", "heldout.jsonl"),
}


def own(here: Path, model: Path) -> Path:
    """A copy of the model as `tiny`, to be damaged, and a whole one as `whole`."""
    (here / "tiny").unlink()
    shutil.copytree(model, here / "whole")
    return Path(shutil.copytree(model, here / "tiny"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1  # a low bit of a weight: nothing that a reader of the format could notice
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("verb", VERBS)
def test_one_flipped_bit_of_our_weights_is_refused_with_what_to_do(here: Path, model: Path, verb: str) -> None:
    folder = own(here, model)
    flip(folder / "model.safetensors")
    told = bloomery(*VERBS[verb], within=here)
    assert told.status == 2
    assert "tiny/model.safetensors: its sha256 differs from the manifest's: the bytes changed on disk" in told.err
    assert "if it was changed on purpose, remove " in told.err and f"tiny/{MANIFEST}" in told.err
    assert not (here / "runs" / "broken").exists()


@pytest.mark.parametrize("verb", ["ask", "eval"])
def test_without_the_manifest_it_is_taken_as_it_is(here: Path, model: Path, verb: str) -> None:
    folder = own(here, model)
    flip(folder / "model.safetensors")
    (folder / MANIFEST).unlink()
    assert bloomery(*VERBS[verb], within=here).status == 0


def test_the_hash_of_a_model_rests_on_its_bytes(here: Path, model: Path) -> None:
    folder = own(here, model)
    assert model_hash(folder) == model_hash(here / "whole") == verify_ours(folder)
    flip(folder / "config.json")
    with pytest.raises(DamagedError, match="sha256 differs"):
        model_hash(folder)


@pytest.mark.parametrize(
    "damage", ["{", '{"about": {}, "files": {"a": 1}, "self": ""}', '{"about": {}, "fles": {}, "self": ""}']
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / MANIFEST).write_text(damage)
    with pytest.raises(DamagedError) as refusal:
        verify_ours(tmp_path)
    assert refusal.value.fix and str(tmp_path / MANIFEST) in refusal.value.fix


@pytest.mark.parametrize("other", [[], {"name": "an app", "version": 3}, "[" * 100_000])
def test_a_manifest_of_somebody_elses_says_nothing(tmp_path: Path, other: object) -> None:
    (tmp_path / MANIFEST).write_text(other if isinstance(other, str) else json.dumps(other))
    assert verify_ours(tmp_path) is None
