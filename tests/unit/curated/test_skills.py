"""The skills source: deterministic, split without leakage, every checker accepts its answer and rejects another."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.data.curated.checks import is_correct
from bloomery.data.curated.skills.problem import is_heldout
from bloomery.data.curated.skills.stream import SKILLS, STAGES, draw, generate, text_block

HELDOUT = families_dir() / "ember" / "heldout"


def _frozen(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HELDOUT / name).read_text().splitlines()]


@pytest.mark.parametrize("stage", STAGES)
def test_equal_options_give_equal_rows_and_another_seed_gives_others(stage: str) -> None:
    first = list(generate(seed=1, stage=stage, count=60))
    assert first == list(generate(seed=1, stage=stage, count=60))
    assert first != list(generate(seed=2, stage=stage, count=60))


def test_a_longer_stream_begins_like_a_shorter_one() -> None:
    assert list(generate(count=50)) == list(itertools.islice(generate(count=None), 50))


@pytest.mark.parametrize("skill", SKILLS)
def test_train_and_heldout_share_no_instance(skill: str) -> None:
    keys = {split: {draw(random.Random(i), skill, split).key for i in range(300)} for split in ("train", "heldout")}
    assert not keys["train"] & keys["heldout"]
    assert all(is_heldout(skill, key) for key in keys["heldout"])


def test_swapped_summands_are_one_instance() -> None:
    keys = {draw(random.Random(i), "addition", "heldout").key for i in range(400)}
    assert all(int(a) <= int(b) for a, b in (key.split("+") for key in keys))


@pytest.mark.parametrize("skill", SKILLS)
def test_the_checker_accepts_the_reference_and_rejects_a_wrong_answer(skill: str) -> None:
    rows = list(generate(count=200, skills=[skill]))
    for row in rows:
        assert is_correct(row["response"], row["reference_answer"], row["metadata"]), row
        assert not is_correct("", row["reference_answer"], row["metadata"]), row
        assert not is_correct(_spoilt(row), row["reference_answer"], row["metadata"]), row


def _spoilt(row: dict[str, Any]) -> str:
    return f"I do not know {'it 1000000' if row['metadata']['grader'] == 'number' else 'what to say Here'}"


def test_answers_are_right() -> None:
    for row in generate(
        count=2000, skills=["addition", "subtraction", "sort_numbers", "count_items", "copy", "reverse"]
    ):
        prompt, answer = row["prompt"], row["response"]
        numbers = [int("".join(g)) for digit, g in itertools.groupby(prompt, str.isdigit) if digit]
        if row["skill"] == "addition":
            assert int(answer) == sum(numbers)
        elif row["skill"] == "subtraction":
            assert int(answer) == max(numbers) - min(numbers)
        elif row["skill"] == "sort_numbers":
            assert sorted(map(int, answer.split(", "))) == sorted(numbers)
        elif row["skill"] == "count_items":
            assert int(answer) == prompt.count(",") + 1
        elif row["skill"] == "copy":
            assert prompt.endswith(answer)
        elif row["skill"] == "reverse":
            assert ", ".join(reversed(answer.split(", "))) in prompt


@pytest.mark.parametrize(
    ("seed_answer", "days"),
    [("1 March", {"28 February + 1"}), ("1 January", {"31 December + 1"}), ("3 May", {"30 April + 3"})],
)
def test_dates_cross_the_end_of_a_month(seed_answer: str, days: set[str]) -> None:
    found = {p.key: p.answer for i in range(20_000) if (p := SKILLS["dates"](random.Random(i))).key in days}
    assert set(found.values()) == {seed_answer}


def test_text_shows_work_only_where_asked() -> None:
    problem = draw(random.Random(0), "addition", "train")
    assert text_block(problem) == f"Q: {problem.prompt}\nA: {problem.answer}\n"
    assert "Work: ones" in text_block(problem, worked=True)
    assert not any("Work:" in row["text"] for row in generate(stage="pre", count=50))
    assert any("Work:" in row["text"] for row in generate(stage="mid", count=10))


def test_frozen_rows_are_held_out_distinct_and_enough() -> None:
    rows = _frozen("skills.jsonl") + _frozen("instruction.jsonl")
    counts = {skill: sum(row["skill"] == skill for row in rows) for skill in SKILLS}
    assert min(counts.values()) >= 100 and len(SKILLS) >= 14
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(is_correct(row["response"], row["reference_answer"], row["metadata"]) for row in rows)


def test_no_frozen_prompt_is_ever_trained_on() -> None:
    frozen = {row["prompt"] for row in _frozen("skills.jsonl") + _frozen("instruction.jsonl")}
    assert not frozen & {row["prompt"] for row in generate(count=10_000, seed=4)}


@pytest.mark.parametrize("options", [{"stage": "sft"}, {"split": "test"}, {"skills": ["additon"]}, {"skills": []}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        next(generate(**options))
