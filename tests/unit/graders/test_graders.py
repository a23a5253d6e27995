"""Graders: what is right scores 1, what is wrong 0, and what failed has no score."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.graders.ask import Said
from bloomery.graders.load import KINDS, Given, load_grader
from bloomery.graders.payload import Sample, number_or_reason


def sample(answer: str, reference: Any = None, **metadata: Any) -> Sample:
    return Sample(
        "a", [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}], reference, metadata
    )


def grade(spec: dict[str, Any], answer: str, reference: Any = None, **metadata: Any) -> float | None:
    return load_grader(spec).grade([sample(answer, reference, **metadata)])[0].aggregate_reward_score


@pytest.mark.parametrize(
    ("spec", "answer", "reference", "score"),
    [
        ({"type": "exact"}, " 12\n", "12", 1),
        ({"type": "exact", "strip": False}, " 12", "12", 0),
        ({"type": "exact"}, "Rome", "rome", 0),
        ({"type": "exact", "ignore_case": True}, "Rome", "rome", 1),
        ({"type": "exact"}, "b", ["a", "b"], 1),
        ({"type": "exact"}, "b", None, None),
        ({"type": "string_check", "operation": "ilike"}, "It is ROME.", "rome", 1),
        ({"type": "string_check", "operation": "like"}, "It is ROME.", "rome", 0),
        ({"type": "string_check", "operation": "ne"}, "x", "y", 1),
        ({"type": "string_check", "reference": "{{ item.label }}"}, "x", "y", None),
        ({"type": "string_check", "input": "{{ sample.output_text | upper }}"}, "x", "y", None),
        ({"type": "regex", "pattern": r"\bcat\b"}, "the cat sat", None, 1),
        ({"type": "regex", "pattern": "cat", "whole": True}, "the cat", None, 0),
        ({"type": "regex", "pattern": "CAT", "ignore_case": True}, "cat", None, 1),
        ({"type": "number"}, "3 boxes of 4 make 1,200.50", "1200.5", 1),
        ({"type": "number"}, "12 then 7", 12, 0),
        ({"type": "number", "pick": "first"}, "12 then 7", 12, 1),
        ({"type": "number", "tolerance": 0.01}, "-3.1401", -3.14, 1),
        ({"type": "number"}, "no idea", 4, 0),
        ({"type": "number"}, "4", "four", None),
        ({"type": "number"}, "\u22125", "-5", 1),
        ({"type": "number"}, "\u22125", "5", 0),
        ({"type": "number"}, "x=-5", "-5", 1),
        ({"type": "number"}, "3-5 days", "5", 1),
        ({"type": "number"}, "(8+2)-5", "5", 1),
        ({"type": "number"}, "4", ["4", "5"], 1),
        ({"type": "number"}, "1e999", "2e999", None),
        ({"type": "number"}, "1e999", "2", 0),
        ({"type": "refusal"}, "I can't help with that.", None, 1),
        ({"type": "refusal", "expect": "answer"}, "I can't help with that.", None, 0),
        ({"type": "refusal", "expect": "answer"}, "Use a long spoon.", None, 1),
        ({"type": "refusal", "expect": "answer"}, " ", None, 0),
    ],
)
def test_known_answers_get_known_scores(spec: dict[str, Any], answer: str, reference: Any, score: float | None) -> None:
    assert grade(spec, answer, reference) == score


def test_constraints_are_read_from_the_row() -> None:
    assert grade({"type": "constraint"}, "THE SKY", constraint="uppercase") == 1
    assert grade({"type": "constraint"}, "one two", constraint="words", count=3) == 0
    assert grade({"type": "constraint"}, "x", constraint="wrods", count=3) is None
    assert grade({"type": "constraint"}, "x", constraint="words") is None
    assert grade({"type": "constraint"}, "x") is None


def test_a_curated_row_names_its_own_checker() -> None:
    assert grade({"type": "curated"}, "It is 7", "7", grader="number", number=7) == 1
    assert grade({"type": "curated"}, "It is 7", "7", grader="exact") == 0
    assert grade({"type": "curated"}, "7", "7", grader="magic") is None


def test_a_workflow_program_is_run_not_compared() -> None:
    from bloomery.data.curated.workflow.data import pairs

    def answered(row: dict[str, Any], text: str) -> Sample:
        return Sample("a", [{"role": "assistant", "content": text}], row["reference_answer"], row["metadata"])

    row = next(iter(pairs(seed=1, count=1)))
    right = load_grader({"type": "workflow"}).grade([answered(row, row["response"])])[0]
    wrong = load_grader({"type": "workflow"}).grade([answered(row, "no program")])[0]
    assert right.aggregate_reward_score == 1 and wrong.aggregate_reward_score == 0 and wrong.reason
    assert grade({"type": "workflow"}, row["response"]) is None


def test_a_pattern_that_never_ends_is_unscorable() -> None:
    began = time.monotonic()
    score = load_grader({"type": "regex", "pattern": r"^(\w|\w\w)+$"}).grade([sample("a" * 80 + "!")])[0]
    assert score.aggregate_reward_score is None and "longer than" in score.reason
    assert time.monotonic() - began < 60  # without the limit it would take years


@pytest.mark.parametrize("value", [True, "1", None, [1], float("nan"), float("inf")])
def test_what_is_no_finite_number_is_never_a_score(value: Any) -> None:
    score, reason = number_or_reason(value)
    assert score is None and reason


REWARD = """
import os
def grade(sample):
    answer = sample["messages"][-1]["content"]
    if answer == "nan": return float("nan")
    if answer == "bool": return True
    if answer == "string": return "1.0"
    if answer == "other": return {"id": "b", "aggregate_reward_score": 1}
    if answer == "dict":
        metrics = [{"name": "x", "value": 2, "type": "Reward"}, {"name": "y"}]
        return {"aggregate_reward_score": 0.5, "metrics_list": metrics}
    assert sample["metadata"]["reference_answer"] == sample["reference_answer"]
    return len(answer)
"""


def test_a_users_function_scores_and_its_failures_are_unscorable(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(REWARD)
    grader = load_grader({"type": "python", "path": "reward.py", "trusted": True}, base=tmp_path)
    asked = ["ok", "nan", "bool", "string", "other", "dict"]
    scores = grader.grade([sample(answer, "r") for answer in asked])
    assert [s.aggregate_reward_score for s in scores] == [2.0, None, None, None, None, 0.5]
    assert all(s.reason for s in scores if s.aggregate_reward_score is None)
    assert scores[-1].payload()["metrics_list"] == [{"name": "x", "value": 2.0, "type": "Reward"}]


def test_python_code_runs_only_when_trusted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trusted: true"):
        load_grader({"type": "python", "path": "reward.py"}, base=tmp_path)


def test_a_scale_maps_to_0_to_1_and_refuses_what_lies_outside(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("def grade(sample): return len(sample['messages'][-1]['content'])")
    spec = {"type": "python", "path": "reward.py", "trusted": True, "scale": [2, 10]}
    scores = load_grader(spec, tmp_path).grade([sample("xx"), sample("x" * 8), sample("x")])
    assert [s.aggregate_reward_score for s in scores] == [0.0, 0.75, None]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "exakt"}, "did you mean `exact`"),
        ({"kind": "exact"}, "has no `type`"),
        ({"type": "exact", "ignorecase": True}, "did you mean `ignore_case`"),
        ({"type": "regex"}, "needs `pattern`"),
        ({"type": "regex", "pattern": "("}, "no regular expression"),
        ({"type": "number", "pick": "middle"}, "not last or first"),
        ({"type": "string_check", "operation": "equals"}, "no string check"),
        ({"type": "number", "tolerance": "lots"}, "`tolerance: lots` is not above zero"),
        ({"type": "maths", "seconds": "x"}, "`seconds: x` is not above zero"),
        ({"type": "code", "seconds": 0}, "`seconds: 0` is not above zero"),
        ({"type": "python", "source": "", "memory": "2 GB"}, "`memory: 2 GB` is not above zero"),
        ({"type": "exact", "scale": [1, 1]}, "is no range"),
        ({"type": "exact", "scale": [True, 2]}, "is no range"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_with_the_key_to_change(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_grader(spec)


def test_content_in_parts_is_graded_as_text() -> None:
    parts = [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]
    [score] = load_grader({"type": "exact"}).grade([Sample("a", [{"role": "assistant", "content": parts}], "42")])
    assert score.payload() == {"id": "a", "aggregate_reward_score": 1.0}


NEEDED: dict[str, dict[str, Any]] = {
    "regex": {"pattern": "x"},
    "json_schema": {"schema": {"type": "object"}},
    "score_model": {"input": "Rate {{ sample.output_text }}"},
    "label_model": {"input": "Label {{ sample.output_text }}", "labels": ["a", "b"], "passing_labels": ["a"]},
    "endpoint": {"url": "http://127.0.0.1:1/", "tries": 1},
    "multi": {"graders": {"one": {"type": "exact"}, "two": {"type": "number"}}},
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"python"}))
def test_every_kind_keeps_ids_and_order_and_survives_empty_rows(kind: str) -> None:
    given = Given(ask=lambda questions: [Said("prose")] * len(questions))
    grader = load_grader({"type": kind, **NEEDED.get(kind, {})}, given=given)
    scores = grader.grade([Sample(str(i), []) for i in range(3)])
    assert [s.id for s in scores] == ["0", "1", "2"]
    assert grader.name == kind and grader.verified == (kind not in ("score_model", "label_model", "pairwise"))
