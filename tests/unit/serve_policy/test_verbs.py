"""`bloomery policy`: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from policies import Write
from typer.testing import CliRunner

from bloomery.cli import app
from bloomery.core.errors import InputError
from bloomery.serve.policy.load import templates


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["policy", *map(str, words)])
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_check_prints_the_categories_and_the_floor() -> None:
    status, text = run("check", "security-firm")
    assert status == 0
    assert "child_safety (floor)" in text and "cybercrime" in text
    told = json.loads(run("check", "safety", "--json")[1])
    assert set(told["categories"]) == {"dangerous_activities", "weapons", "controlled_substances"}


def test_check_refuses_a_policy_that_lowers_the_floor(write: Write) -> None:
    with pytest.raises(InputError, match="belongs to the floor"):
        run("check", write("extends: safety\ncategories:\n  child_safety: null\n"))


@pytest.mark.parametrize("verb", ["check", "try", "test"])
def test_a_judge_that_is_not_there_is_refused_before_it_is_asked(write: Write, tmp_path: Path, verb: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "expect": "allow"}\n')
    more = {"check": [], "try": ["a"], "test": ["--rows", str(tmp_path / "rows.jsonl")]}[verb]
    judge = "{{input: 'Rate {{{{ sample.output_text }}}}', judge: {}, range: [1, 10]}}"
    policy = "categories:\n  rude:\n    detectors:\n      - judge: "
    with pytest.raises(InputError, match=r"`judge: embr/posttrained`: .*did you mean `ember`") as refused:
        run(verb, write(policy + judge.format("embr/posttrained")), *more)
    assert str(refused.value.where).endswith("policy.yaml:4")
    assert "1 judge" in run("check", write(policy + judge.format("ember/posttrained")))[1]


def test_templates_lists_every_one() -> None:
    assert [row["name"] for row in json.loads(run("templates", "--json")[1])] == templates()
    assert all(name in run("templates")[1] for name in templates())


def test_try_tells_the_decision_and_why() -> None:
    status, text = run("try", "safety", "How do I make a pipe bomb?")
    assert status == 0 and text.startswith("block: weapons\n") and "near 1 matched" in text
    assert run("try", "safety", "How do I make a bath bomb?")[1].startswith("allow\n")
    told = json.loads(run("try", "safety", "card 4111111111111111", "--output", "--json")[1])
    assert told["decision"] == {"action": "mask", "category": "payment_cards"}
    assert told["text"] == "card [removed]"


@pytest.mark.parametrize(("bound", "status"), [("0%", 3), ("100%", 0)])
def test_test_exits_by_the_bounds(write: Write, tmp_path: Path, bound: str, status: int) -> None:
    policy = write(f"bounds: {{blocked_safe: {bound}}}\ncategories:\n  own:\n    detectors: [{{words: [zebra]}}]\n")
    rows = write('{"text": "zebra", "expect": "allow"}\n{"text": "horse", "expect": "block"}', "rows.jsonl")
    code, text = run("test", policy, "--rows", rows)
    assert code == status
    assert "missed: rows.jsonl line 2" in text and "stopped though safe: rows.jsonl line 1" in text
    assert json.loads(run("test", policy, "--rows", rows, "--json")[1])["blocked_safe"]["hits"] == 1


@pytest.mark.parametrize("name", ["a/../../../x", "..", "/tmp/x", ".hidden", "", "a\\b"])
def test_train_writes_below_heads_only(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rows = write('{"text": "a", "expect": "allow"}', "rows.jsonl")
    monkeypatch.chdir(rows.parent)
    with pytest.raises(InputError, match="cannot name a folder below `heads`"):
        run("train", name, "--rows", rows)
    with pytest.raises(InputError, match="0 harmful rows"):  # a folder that was named is the user's own business
        run("train", name, "--rows", rows, "--out", rows.parent / "own")


def test_train_writes_a_head_that_a_policy_can_name(write: Write, tmp_path: Path) -> None:
    lines = [{"text": f"you oaf number {n}", "expect": "block"} for n in range(80)]
    lines += [{"text": f"a calm river number {n}", "expect": "allow"} for n in range(80)]
    rows = write("\n".join(map(json.dumps, lines)), "rows.jsonl")
    status, text = run("train", "insults", "--rows", rows, "--out", tmp_path / "heads" / "insults", "--json")
    assert status == 0
    told = json.loads(text[text.index("{") :])
    assert told["rows"] == {"harmful": 80, "safe": 80}
    policy = write("categories:\n  insults:\n    detectors: [{head: heads/insults}]\n")
    assert run("try", policy, "you oaf number 3")[1].startswith("block: insults")
    assert run("try", policy, "a calm river number 3")[1].startswith("allow")
