"""A model trained on longer rows takes them: its folder says so, and a third of its tokens were long."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from killed import run_to
from tiny import bloomery, documents, weights, write_rows

from bloomery.core.files import read_json

CHANGES = (
    "name=long", "budget=8k tokens", "optim.batch=768", "data.share=34%", "data.long_context=256",
    "data.domain=[{path: books.jsonl, long: true}]", "data.repetition_cap=20", "memory.micro_tokens=512",
)  # fmt: skip


@pytest.fixture
def books(here: Path) -> Path:
    """The working folder with documents of about 200 tokens, longer than the model's context of 128."""
    texts = [row["text"] for row in documents("domain", 0, 240)]
    long = [" ".join(texts[n : n + 5]) for n in range(0, 240, 5)]
    write_rows(here / "books.jsonl", [json.dumps({"id": f"b{n}", "text": text}) for n, text in enumerate(long)])
    return here


def test_the_model_of_a_long_context_run_takes_long_rows(books: Path) -> None:
    told = bloomery("run", "recipe.yaml", *CHANGES, within=books)
    assert told.status == 0, told.err
    run = books / "runs" / "long"
    config, before = read_json(run / "model" / "config.json"), read_json(books / "tiny" / "config.json")
    assert (config["max_position_embeddings"], before["max_position_embeddings"]) == (256, 128)
    assert config["rope_parameters"]["rope_theta"] > before["rope_parameters"]["rope_theta"]
    assert read_json(run / "model" / "tokenizer_config.json")["model_max_length"] == 256
    receipt = read_json(run / "data-receipt.json")
    read, taken = receipt["sources"]["books"]["cut"], receipt["sources"]["books"]["taken"]
    assert read["split"] == 0 and read["tokens"] / read["rows"] > 128  # whole, as long as they are
    assert 0.25 < taken["tokens"] / receipt["tokens"] <= 0.34
    next_ = bloomery("explain", "recipe.yaml", "start=long", "model=null", "data.context=256", within=books)
    assert next_.status == 0, next_.out + next_.err


def test_killed_and_resumed_a_long_context_run_ends_with_the_same_bytes(books: Path) -> None:
    assert bloomery("run", "recipe.yaml", *CHANGES, within=books).status == 0
    other = ("name=cut", *CHANGES[1:])
    ended = run_to(books, "run", "recipe.yaml", *other, at="bloomery.train.trainer:train_step", times=5)
    assert ended == -signal.SIGKILL
    told = bloomery("resume", "cut", within=books)
    assert told.status == 0, told.err
    assert weights(books / "runs" / "cut") == weights(books / "runs" / "long")
