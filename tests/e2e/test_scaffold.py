"""From a corpus to a model of one's own: tokenizer, empty model, training, a folder that transformers loads."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from killed import run_to
from tiny import bloomery, documents, weights, write_rows

from bloomery.core.files import read_json, verify_folder

RECIPE = """\
start: scaffold
scaffold: {shape: SHAPE, depth: 2, tokenizer: own}
data: {domain: [{path: rows.jsonl}], context: 64}
budget: 3k tokens
optim: {batch: 256 tokens}
checkpoints: {every: 3 steps}
memory: {device: cpu, precision: fp32}
threads: 1
"""


def prepared(folder: Path, shape: str = "llama") -> Path:
    """A working folder with rows, a tokenizer made of them, and a recipe."""
    folder.mkdir()
    write_rows(folder / "rows.jsonl", documents("domain", 0, 200))
    (folder / "recipe.yaml").write_text(RECIPE.replace("SHAPE", shape))
    told = bloomery("tokenizer", "rows.jsonl", "own", "--vocab", "300", within=folder)
    assert told.status == 0, told.err
    return folder


@pytest.mark.parametrize("shape", ["llama", "qwen3", "olmo3"])
def test_a_model_from_nothing_loads_in_transformers_and_has_learnt(tmp_path: Path, shape: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    here = prepared(tmp_path / "work", shape)
    told = bloomery("run", "recipe.yaml", "name=first", within=here)
    assert told.status == 0, told.err
    run = here / "runs" / "first"
    assert "fewer bits" in told.out
    assert (run / "plan.svg").read_text().startswith("<svg")
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert model.config.model_type == shape
    assert model.config.vocab_size == len(tokenizer) == 300
    assert model.config.eos_token_id == tokenizer.eos_token_id == 0
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 64
    plan = read_json(run / "plan.json")["values"]
    assert sum(p.numel() for p in model.parameters()) == plan["scaffold.parameters"]["value"]


def test_killed_and_resumed_without_the_tokenizers_folder_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    here = prepared(tmp_path / "work")
    assert bloomery("run", "recipe.yaml", "name=whole", within=here).status == 0
    stopped = run_to(here, "run", "recipe.yaml", "name=cut", at="bloomery.train.trainer:train_step", times=5)
    assert stopped == -signal.SIGKILL
    verify_folder(here / "runs" / "cut" / "scaffold")
    shutil.rmtree(here / "own")
    (here / "runs" / "cut").rename(here / "runs" / "moved")
    told = bloomery("resume", "moved", within=here)
    assert told.status == 0, told.err
    assert weights(here / "runs" / "moved") == weights(here / "runs" / "whole")


def test_the_next_training_goes_on_from_the_model_that_the_first_made(tmp_path: Path) -> None:
    here = prepared(tmp_path / "work")
    steps = "steps: [{do: train, name: read}, {do: train, set: {budget: 1k tokens}}, export]\n"
    (here / "recipe.yaml").write_text((here / "recipe.yaml").read_text() + steps)
    told = bloomery("run", "recipe.yaml", "name=two", within=here)
    assert told.status == 0, told.err
    assert read_json(here / "runs" / "two" / "plan.json")["values"]["start.kind"]["value"] == "run"
    again = bloomery("run", "recipe.yaml", "name=three", "start=two", "scaffold=null", "steps=[train]", within=here)
    assert again.status == 0, again.err
