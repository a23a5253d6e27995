"""A tiny family and a recipe beside it, in an empty working folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bloomery.recipes.load import Loaded, load_recipe
from bloomery.recipes.machine import Machine

CONFIG = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "tie_word_embeddings": True, "max_position_embeddings": 128,
}  # fmt: skip

FAMILY = """\
name: tiny
title: Tiny
licence: Apache-2.0
architecture: LlamaForCausalLM
parameters: 100k
context: 128
tokenizer: tokenizer
checkpoints:
  scaffold: {folder: weights, empty: true, peak_lr: 1e-3, batch_tokens: 4096, curated: pre}
  hot: {folder: weights, tokens: 1M, schedule: {kind: constant, peak: 1e-3}, batch_tokens: 4096, curated: pre}
  warm:
    folder: weights
    stage: mid
    tokens: 3M
    schedule: {kind: linear, peak: 1e-3, horizon: 4M}
    batch_tokens: 4096
    curated: pre
  cold: {folder: weights, stage: mid, lr: 0, peak_lr: 1e-3, batch_tokens: 4096, curated: pre}
  chat: {folder: weights, stage: post, lr: 0, peak_lr: 1e-3, sft_lr: 2e-4, batch_tokens: 4096, curated: post}
curated:
  pre:
    - {name: web, path: web.jsonl, share: 75%, tokens: 1M}
    - {name: code, path: code.jsonl, share: 25%, tokens: 1M}
  post: [{name: talk, path: talk.jsonl, share: 100%, tokens: 1M}]
eval:
  - {name: web-heldout, role: general, kind: bpb, path: heldout.jsonl}
  - {name: manners, role: instruction, kind: generate, path: m.jsonl, grader: {type: exact}, stages: [post]}
"""

CPU = Machine("cpu", "a test machine", 8_000_000_000, False, 1e11)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the family `tiny` in ./families and two domain files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "families" / "weights"
    weights.mkdir(parents=True)
    (tmp_path / "families" / "tiny.yaml").write_text(FAMILY)
    (weights / "config.json").write_text(json.dumps(CONFIG))
    (weights / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    rows(tmp_path / "text.jsonl", [{"text": "iron and charcoal " * 20} for _ in range(50)])
    rows(tmp_path / "pairs.jsonl", [{"prompt": f"what is {i}", "response": "a number " * 9} for i in range(50)])
    return tmp_path


def rows(path: Path, values: list[dict[str, Any]]) -> None:
    """Write a JSONL file."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


@pytest.fixture
def recipe(here: Path) -> Callable[..., Loaded]:
    """Writes a recipe's text and loads it: `recipe("family: tiny", "data.share=30%")`."""

    def load(text: str, *overrides: str) -> Loaded:
        (here / "recipe.yaml").write_text(text)
        return load_recipe("recipe.yaml", overrides)

    return load
