"""A two-layer model, a few hundred rows and a recipe: runs of a second that go all the way from recipe to report."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.cli import main
from bloomery.core.resources import families_dir
from bloomery.models.export import export_model
from bloomery.models.load import load_tokenizer, new_model

SHAPE = {
    "model_type": "llama", "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": True,
}  # fmt: skip

RECIPE = """\
model: tiny
data:
  domain: [{path: domain.jsonl}]
  curated: [{path: general.jsonl}]
  share: 50%
budget: 3k tokens
optim: {batch: 256 tokens}
schedule: {kind: linear, lr: 2e-3}
checkpoints: {every: 3 steps}
eval: heldout.jsonl
memory: {device: cpu, precision: fp32}
threads: 1
"""
"""Twelve steps, four checkpoints."""

FAMILY = """\
name: toy
title: A toy
licence: Apache-2.0
architecture: LlamaForCausalLM
parameters: 150k
context: 128
tokenizer: ../tiny
checkpoints:
  hot: {folder: ../tiny, tokens: 1M, schedule: {kind: constant, peak: 2e-3}, batch_tokens: 256}
curated:
  hot: [{name: general, path: ../general.jsonl, share: 100%, licence: CC0-1.0}]
eval:
  - {name: old-things, role: general, kind: bpb, path: ../old.jsonl}
"""

_DOMAIN = "the order ships when payment clears and a manager signs or rejects the form before noon unless stock is low"
_GENERAL = "rain falls on green hills while slow rivers carry silt past old mills toward a grey and patient sea"


@dataclass(frozen=True)
class Told:
    """What a verb answered: its exit status and what it wrote."""

    status: int
    out: str
    err: str


def documents(kind: str, first: int, count: int, words: int = 24) -> list[dict[str, Any]]:
    """Text rows `first` and following, no two alike: of the `domain` (business) or `general` (landscape)."""
    known = (_DOMAIN if kind == "domain" else _GENERAL).split()
    lines = []
    for number in range(first, first + count):
        draw = random.Random(f"{kind}{number}")
        lines.append(" ".join(draw.choice(known) for _ in range(words)) + f" {number}.")
    return [{"id": f"{kind[0]}{first + i}", "text": line} for i, line in enumerate(lines)]


def pairs(first: int, count: int) -> list[dict[str, Any]]:
    """Question and answer rows, no two alike."""
    numbers = range(first, first + count)
    return [{"id": f"p{n}", "prompt": f"Which form is number {n}?", "response": f"It is form {n}."} for n in numbers]


def preference_rows(first: int, count: int) -> list[dict[str, Any]]:
    """Pairs of answers: the better one names a form and a person, the worse one does not know."""
    rows = []
    for number in range(first, first + count):
        draw = random.Random(f"pair{number}")
        form, who = draw.choice("invoice order parcel ticket letter".split()), draw.choice("Ann Bob Cid Dee".split())
        asked, worse = f"Which {form} is number {number}?", f"No idea about {form} {draw.randint(1, 9)}."
        rows.append({"id": f"q{number}", "prompt": asked, "chosen": f"The {form} of {who}.", "rejected": worse})
    return rows


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows as JSON lines; text is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def model_folder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A random two-layer Llama with ember's tokenizer, as an ordinary folder."""
    loaded = new_model(dict(SHAPE) | changes, seed, check=False)
    loaded.tokenizer = load_tokenizer(families_dir() / "ember" / "tokenizer")
    export_model(loaded, folder)
    return folder


def workshop(folder: Path, model: Path) -> Path:
    """A working folder: the model as `tiny`, rows of every kind, `recipe.yaml`, and the family `toy`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny").symlink_to(model)
    write_rows(folder / "domain.jsonl", documents("domain", 0, 120))
    write_rows(folder / "heldout.jsonl", documents("domain", 1000, 12))
    write_rows(folder / "general.jsonl", documents("general", 0, 120))
    write_rows(folder / "old.jsonl", documents("general", 1000, 12))
    write_rows(folder / "pairs.jsonl", pairs(0, 150))
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "families").mkdir()
    (folder / "families" / "toy.yaml").write_text(FAMILY)
    return folder


def bloomery(*arguments: str, within: Path) -> Told:
    """Call a verb of the command line in this process, in the working folder `within`."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(within)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
        raise AssertionError("main returned")
    except SystemExit as ended:
        return Told(int(ended.code or 0), out.getvalue(), err.getvalue())
    finally:
        os.chdir(before)


def weights(run: Path) -> bytes:
    """The bytes of a run's exported weights."""
    return (run / "model" / "model.safetensors").read_bytes()
