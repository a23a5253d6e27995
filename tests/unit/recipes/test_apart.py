"""Nothing that a run is measured on is trained on: the user's rows are refused, the family's give way, counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokens import MARKED, jsonl, tokenizer_folder

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.data.builtin import generate
from bloomery.recipes.load import recipe_from
from bloomery.recipes.prepare import Prepared, prepare
from bloomery.recipes.resolve import resolve

FAMILY = """\
name: small
title: Small
licence: Apache-2.0
architecture: LlamaForCausalLM
parameters: 100k
context: 64
tokenizer: ../start
checkpoints:
  chat: {folder: ../start, stage: post, lr: 0, peak_lr: 1e-3, sft_lr: 2e-4, batch_tokens: 256, curated: post}
curated:
  post: [{name: talk, path: ../talk.jsonl, share: 100%, tokens: 10k}]
eval:
  - {name: general, role: general, kind: bpb, path: ../general.jsonl}
  - {name: manners, role: instruction, kind: generate, path: ../manners.jsonl, grader: {type: exact}}
"""


def pair(number: int, answer: str = "It is form") -> dict[str, Any]:
    return {"id": f"p{number}", "prompt": f"Which form is {number}?", "response": f"{answer} {number}."}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family with a suite of bits per byte and one of answers (forms 900 to 909), and data that touches neither."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    config = {"model_type": "llama", "hidden_size": 32, "vocab_size": 512, "num_hidden_layers": 1}
    tokenizer_folder(tmp_path / "start")
    (tmp_path / "start" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    (tmp_path / "start" / "chat_template.jinja").write_text(MARKED)
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "small.yaml").write_text(FAMILY)
    jsonl(tmp_path / "general.jsonl", [{"text": f"general row {n}"} for n in range(5)])
    jsonl(tmp_path / "manners.jsonl", [pair(n) for n in range(900, 910)])
    jsonl(tmp_path / "held.jsonl", [pair(n) for n in range(800, 805)])
    jsonl(tmp_path / "talk.jsonl", [pair(n) for n in range(100, 140)])
    jsonl(tmp_path / "domain.jsonl", [pair(n) for n in range(40)])
    return tmp_path


def prepared(here: Path, **data: Any) -> Prepared:
    judged = {"domain": "held.jsonl"}
    recipe = {
        "eval": judged,
        "family": "small",
        "start": "chat",
        "data": {"domain": "domain.jsonl", **data},
        "budget": "1k tokens",
    }
    loaded = recipe_from({**recipe, "memory": {"device": "cpu"}}, base=here)
    return prepare(resolve(loaded), here / "run", lambda text: None)


def test_rows_of_every_suite_are_refused_in_the_users_own_data(here: Path) -> None:
    assert prepared(here).receipt()["sources"]["talk"]["rows"]["dropped"] == {}
    jsonl(here / "domain.jsonl", [pair(n) for n in (*range(40), 903)])
    with pytest.raises(InputError, match="1 training rows of `domain` are also evaluation rows of `manners`: p903"):
        prepared(here)


def test_the_question_alone_gives_a_generated_answer_away(here: Path) -> None:
    asked = {"messages": [{"role": m, "content": c} for m, c in (
        ("system", "Brief"), ("user", "which form  is 905?"), ("assistant", "A"), ("user", "?"), ("assistant", "Yes"),
    )]}  # fmt: skip
    jsonl(here / "own.jsonl", [asked, *({"messages": [
        {"role": "user", "content": f"Say {n}"}, {"role": "assistant", "content": f"{n}."},
    ]} for n in range(30))])  # fmt: skip
    with pytest.raises(InputError, match="1 training rows of `own` are also evaluation rows of `manners`"):
        prepared(here, curated=[{"path": "own.jsonl", "drop_limit": 1.0, "overlong": "truncate"}])


def test_the_familys_rows_give_way_and_are_counted(here: Path) -> None:
    whole = prepared(here).receipt()["sources"]["talk"]["rows"]
    jsonl(here / "talk.jsonl", [pair(n) for n in (*range(100, 140), 901, 902)])
    after = prepared(here)
    told = after.receipt()["sources"]["talk"]
    assert told["rows"] == {**whole, "read": 42, "dropped": {"evaluation row": 2}}
    assert (whole["kept"], told["used_documents"], after.tables["talk"].n_tokens) == (40, 40, whole["tokens"])


def test_generated_rows_give_way_wherever_they_are_asked_for(here: Path) -> None:
    generated = {"builtin": "workflow-pairs", "options": {"count": 30}}
    first = next(row for row in generate("workflow-pairs", {"count": 30}) if "prompt" in row)
    jsonl(here / "manners.jsonl", [{"prompt": first["prompt"], "response": "something else"}])
    told = prepared(here, curated=[{**generated, "overlong": "truncate", "drop_limit": 1.0}]).receipt()["sources"]
    assert told["workflow-pairs"]["rows"]["dropped"]["evaluation row"] >= 1


def test_rows_of_the_users_own_curated_files_are_refused_not_removed(here: Path) -> None:
    jsonl(here / "own.jsonl", [pair(n) for n in (*range(200, 240), 907)])
    with pytest.raises(InputError, match="1 training rows of `own` are also evaluation rows of `manners`"):
        prepared(here, curated=[{"path": "own.jsonl"}])


def test_embers_own_skills_suite_cannot_be_trained_on(here: Path) -> None:
    suite = families_dir() / "ember" / "heldout" / "skills.jsonl"
    (here / "manners.jsonl").write_bytes(suite.read_bytes())
    rows = [json.loads(line) for line in suite.read_text().splitlines()[:60]]
    jsonl(here / "domain.jsonl", [{"prompt": row["prompt"], "response": row["response"]} for row in rows])
    with pytest.raises(InputError, match="are also evaluation rows of `manners`"):
        prepared(here)
