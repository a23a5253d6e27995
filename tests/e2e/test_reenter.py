"""A run from an early stage is led back to the later one by measured ways; what cannot work is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import bloomery, write_rows

FAMILY = """\
name: toy
title: A toy
licence: Apache-2.0
architecture: LlamaForCausalLM
parameters: 150k
context: 128
tokenizer: ../tiny
checkpoints:
  hot: {folder: ../tiny, stage: pre, tokens: 1M, schedule: {kind: constant, peak: 2e-3}, batch_tokens: 256}
  chat: {folder: ../later, stage: post, tokens: 2M, lr: 0, peak_lr: 2e-3, batch_tokens: 256}
curated:
  hot: [{name: general, path: ../general.jsonl, share: 100%, licence: CC0-1.0}]
  chat: [{name: chat, path: ../pairs.jsonl, share: 100%, licence: CC0-1.0}]
eval:
  - {name: old-things, role: general, kind: bpb, path: ../old.jsonl}
  - name: forms
    role: skills
    kind: generate
    path: ../forms.jsonl
    grader: {type: exact}
    stages: [post]
    max_new_tokens: 4
"""
RECIPE = """\
family: toy
start: hot
data: {domain: [{path: domain.jsonl}], share: 50%}
budget: 2k tokens
memory: {device: cpu, precision: fp32}
threads: 1
"""


@pytest.fixture(scope="module")
def early(finished: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the run `early` from the toy family's first stage; nobody changes it."""
    folder = Path(shutil.copytree(finished[0], tmp_path_factory.mktemp("early") / "work", symlinks=True))
    shutil.copytree(folder / "runs" / "whole" / "model", folder / "later")
    asked = [{"id": f"f{n}", "prompt": f"Which form is number {n}?", "reference_answer": "?"} for n in range(900, 904)]
    write_rows(folder / "forms.jsonl", asked)
    (folder / "families" / "toy.yaml").write_text(FAMILY)
    (folder / "early.yaml").write_text(RECIPE)
    told = bloomery("run", "early.yaml", within=folder)
    assert told.status == 0, told.err
    return folder


@pytest.fixture
def work(early: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(early, tmp_path / "work", symlinks=True))


def test_a_re_entry_tries_every_way_and_keeps_what_was_measured_best(work: Path) -> None:
    asked = ("reenter", "early", "--budget", "2k tokens", "--strengths", "0.5", "--keep", "90%")
    first = bloomery(*asked, "--json", within=work)
    assert first.status in (0, 3), first.err
    found = json.loads(first.out)
    names = ["toy/chat", "early", "graft 0.5", "linear 0.5", "slerp 0.5", "ties 0.5", "re-anneal"]
    assert [one["name"] for one in found["models"]] == names and found["status"] == "done"
    assert all({"domain", "general", "skills"} <= one["groups"].keys() for one in found["models"])
    assert any("re-anneal" in line for line in found["said"])
    queue = work / "runs" / "early.reenter"
    assert (queue / "model").is_dir() is (found["winner"] is not None)
    assert found["winner"] is None or "early.reenter" in bloomery("models", within=work).out
    page = (queue / "report.html").read_text()
    assert not list((queue / "merges").glob("*")) and page.count("<svg") == 2 and "graft 0.5" in page
    again = bloomery(*asked, within=work)
    assert "evaluating" not in again.err and again.out == (queue / "table.txt").read_text()
    other = bloomery("reenter", "early", "--strengths", "0.2", within=work)
    assert (other.status, "asked for something else before" in other.err) == (2, True)


def test_a_family_without_open_fine_tuning_data_is_merged_only_and_says_so(work: Path) -> None:
    closed = FAMILY.replace("  chat: [{name: chat, path: ../pairs.jsonl, share: 100%, licence: CC0-1.0}]\n", "")
    (work / "families" / "toy.yaml").write_text(closed)
    told = bloomery("reenter", "early", "--strengths", "1", within=work)
    assert "no open fine-tuning data: merges and grafts only" in told.out, told.err
    assert "re-anneal 1" not in told.out and "graft 1" in told.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("erly",), "there is no run `erly`"),
        (("whole",), "began with `tiny`, which is no stage of a family"),
        (("early", "--to", "hot"), "`--to hot` is no later stage than `hot`"),
        (("early", "--to", "midtrained"), "has no checkpoint `midtrained`"),
        (("early", "--strengths", "0,1"), "a strength is above 0 and at most 1"),
        (("early", "--strengths", "some"), "is no list of numbers"),
        (("early", "--strengths", "1,1"), "names one twice"),
        (("early", "--budget", "2 epochs"), "the budget of a re-entry is in tokens"),
        (("early", "--keep", "200%"), "outside 0 to 100 %"),
    ],
)
def test_a_re_entry_that_cannot_be_is_refused(early: Path, arguments: tuple[str, ...], says: str) -> None:
    refused = bloomery("reenter", *arguments, within=early)
    assert refused.status == 2 and says in refused.err, refused.err
    assert not (early / "runs" / "early.reenter").exists()


def test_a_re_anneal_that_could_not_run_is_refused_before_anything_is_scored(early: Path) -> None:
    refused = bloomery("reenter", "early", "--budget", "90M tokens", "--name", "long", within=early)
    assert refused.status == 2 and "the re-anneal: " in refused.err and "another `--budget`" in refused.err, refused.err
    assert not (early / "runs" / "long.reenter").exists()


def test_a_family_that_ends_with_the_runs_own_stage_is_refused(work: Path) -> None:
    lines = [line for line in FAMILY.splitlines() if not line.startswith("  chat:")]
    (work / "families" / "toy.yaml").write_text("\n".join(lines))
    refused = bloomery("reenter", "early", within=work)
    assert refused.status == 2 and "no stage after `hot`" in refused.err, refused.err
