"""What preparing a run fixes, so that a resumed run reads the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokens import jsonl, tokenizer_folder

from bloomery.recipes.load import load_recipe
from bloomery.recipes.plan import Plan
from bloomery.recipes.prepare import prepare
from bloomery.recipes.resolve import resolve

COMMIT, LATER = "a" * 40, "b" * 40
RECIPE = """\
model: start
data:
  domain:
    - {name: named, path: "hf://owner/rows/train.jsonl"}
    - {name: whole, hf: owner/rows, revision: main}
budget: 1k tokens
eval: heldout.jsonl
memory: {device: cpu}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A recipe on Hub data, in a folder with a tokenizer and a configuration; the Hub's newest commit is `COMMIT`."""
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    config = {"model_type": "llama", "hidden_size": 32, "vocab_size": 512, "num_hidden_layers": 1}
    tokenizer_folder(tmp_path / "start")
    (tmp_path / "start" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    jsonl(tmp_path / "heldout.jsonl", [{"text": f"held out {n}"} for n in range(12)])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    _newest(COMMIT, tmp_path, monkeypatch)
    return resolve(load_recipe(tmp_path / "recipe.yaml"))


def _newest(commit: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(repository: str, *, revision: str | None, **_: Any) -> str:
        found = folder / "snapshots" / (revision if revision and len(revision) == 40 else commit)
        jsonl(found / "train.jsonl", [{"text": f"row {n} of {found.name}"} for n in range(20)])
        return str(found)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)


def test_guessed_columns_are_said_while_preparing(plan: Plan, tmp_path: Path) -> None:
    said: list[str] = []
    prepare(plan, tmp_path / "run", said.append)
    assert "columns of named: text <- text (guessed)" in said


def test_hub_data_stays_at_the_commit_that_the_receipt_names(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(plan, tmp_path / "run", lambda text: None)
    told = first.receipt()["sources"]
    assert told["named"]["remote"] == [f"hf://owner/rows@{COMMIT}/train.jsonl"]
    assert told["whole"]["remote"] == [f"hf://owner/rows@{COMMIT}"]
    _newest(LATER, tmp_path, monkeypatch)
    again = prepare(first.plan, tmp_path / "run", lambda text: None)
    assert {name: store.path for name, store in again.stores.items()} == {
        name: store.path for name, store in first.stores.items()
    }
    assert again.receipt() == first.receipt()


def test_the_loss_is_followed_on_whole_documents_that_cost_a_twentieth_of_the_run(plan: Plan, tmp_path: Path) -> None:
    text = "held out, " * 3
    jsonl(tmp_path / "heldout.jsonl", [{"text": f"{text}{n}"} for n in range(300)])
    prepared = prepare(plan, tmp_path / "run", lambda text: None)
    (watched,) = prepared.watched()
    whole, steps = prepared.held[0].table, prepared.plan.arm().steps
    tokens, times = sum(map(len, watched.rows)), steps // prepared.plan.get("eval.every") + 1
    assert 0 < len(watched.rows) < whole.n_rows
    share = 0.05 * 3 * prepared.plan.get("budget.tokens") / times
    assert tokens - len(watched.rows[-1]) < share <= tokens
    assert watched.text_bytes == sum(len(f"{text}{n}") for n in range(len(watched.rows)))
