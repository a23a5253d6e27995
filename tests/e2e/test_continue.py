"""Every finished run is a start, whatever it was made from and however its pipeline ended, by any method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import bloomery

REST = """\
data: {domain: [{path: domain.jsonl}]}
budget: 1k tokens
optim: {batch: 256 tokens}
eval: heldout.jsonl
memory: {device: cpu, precision: fp32}
threads: 1
"""


def explained(folder: Path, head: str) -> dict[str, Any]:
    """The plan's values of a recipe that would start."""
    (folder / "next.yaml").write_text(head + REST)
    told = bloomery("explain", "next.yaml", "--json", within=folder)
    assert told.status == 0, told.out + told.err
    values = json.loads(told.out)["plan"]["values"]
    return {key: found["value"] for key, found in values.items()}


@pytest.mark.parametrize("head", ["start: whole\n", "model: tiny\nstart: whole\n", "start: runs/whole\nmethod: lora\n"])
def test_a_run_of_a_bare_model_is_a_start(after: Path, head: str) -> None:
    values = explained(after, head)
    assert (values["start.kind"], values["family"]) == ("run", None)
    assert values["start.folder"] == str((after / "runs" / "whole" / "model").resolve())
    assert (values["start.lr"], values["start.peak_lr"], values["start.tokens_seen"] >= 3000) == (0.0, 2e-3, True)


def test_a_run_of_a_bare_model_is_continued_with_adapters(after: Path) -> None:
    (after / "next.yaml").write_text("start: whole\nmethod: lora\nlora: {rank: 4}\nname: next\n" + REST)
    told = bloomery("run", "next.yaml", within=after)
    assert told.status == 0, told.err
    chains = {model["name"]: model["ancestry"] for model in json.loads(bloomery("models", "--json", within=after).out)}
    assert chains["next"] == ["whole", "tiny"]


@pytest.mark.parametrize("steps", ["[train, {do: export, to: outmodel}]", "[train]"])
def test_a_run_is_a_start_and_a_model_whatever_its_steps_are(here: Path, steps: str) -> None:
    (here / "first.yaml").write_text(f"family: toy\nstart: hot\nname: first\nsteps: {steps}\n{REST}")
    told = bloomery("run", "first.yaml", within=here)
    assert told.status == 0, told.err
    assert (here / "outmodel" / "model.safetensors").is_file() == ("export" in steps)
    assert [model["name"] for model in json.loads(bloomery("models", "--json", within=here).out)] == ["first"]
    values = explained(here, "start: first\n")
    assert (values["start.kind"], values["family"]) == ("run", "toy")
    assert values["curated.mix"] == "hot"


def test_a_start_that_is_neither_a_stage_nor_a_run_is_told_as_such(here: Path) -> None:
    (here / "next.yaml").write_text("model: tiny\nstart: midtraind\n" + REST)
    told = bloomery("explain", "next.yaml", within=here)
    assert told.status == 2
    assert (
        "next.yaml:2: `start: midtraind`: the recipe names no family, and there is no run `midtraind` in ./runs"
        in told.out + told.err
    )
