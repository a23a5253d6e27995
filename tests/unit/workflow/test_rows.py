"""The two sources: distinct, seeded, true to the interpreter, and without leakage between splits."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import bloomery
from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.check import check
from bloomery.data.curated.workflow.data import manual, pairs
from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.interpreter import run
from bloomery.data.curated.workflow.manual import PAGES
from bloomery.data.curated.workflow.parser import parse
from bloomery.data.curated.workflow.sampler import LEVELS, SPLITS, split_of
from bloomery.data.curated.workflow.transcript import find_programs, mismatches


@pytest.fixture(scope="module")
def pages() -> list[dict[str, Any]]:
    return list(manual(seed=1, count=3000))


def test_the_manual_has_three_thousand_distinct_pages_and_a_million_and_a_half_characters(
    pages: list[dict[str, Any]],
) -> None:
    assert len({row["text"] for row in pages}) == len({row["id"] for row in pages}) == 3000
    assert sum(len(row["text"]) for row in pages) >= 1_500_000
    assert max(len(row["text"]) for row in pages) < 2500


def test_every_printed_result_and_error_is_the_interpreters(pages: list[dict[str, Any]]) -> None:
    shown = [program for row in pages for program in find_programs(row["text"])]
    assert sum(bool(program.printed) for program in shown) > 2000
    assert sum(program.printed[0].startswith("! ") for program in shown if program.printed) > 250
    wrong = [message for row in pages for message in mismatches(row["text"])]
    assert wrong == []


def test_every_program_without_a_result_parses(pages: list[dict[str, Any]]) -> None:
    silent = [program for row in pages for program in find_programs(row["text"]) if not program.printed]
    assert len(silent) > 1000
    for program in silent:
        assert str(parse(program.program)) == program.program


def test_pages_come_in_every_kind(pages: list[dict[str, Any]]) -> None:
    titles = {row["text"].split("\n")[0].rstrip("0123456789:. ") for row in pages}
    assert len(PAGES) >= 15
    assert len(titles) > 100


@pytest.mark.parametrize("split", SPLITS)
def test_pages_show_only_programs_of_their_split(split: str) -> None:
    for row in manual(seed=2, count=400, split=split):
        for shown in find_programs(row["text"]):
            try:
                run(shown.program, shown.tables) if shown.tables else None
            except WorkflowError:
                continue
            assert split_of(parse(shown.program)) == split


@pytest.mark.parametrize("level", LEVELS)
def test_no_program_or_prompt_is_in_both_splits(level: str) -> None:
    train = list(pairs(seed=1, count=1500, level=level))
    heldout = list(pairs(seed=1, count=500, split="heldout", level=level))
    for field in ("prompt", "response", "id"):
        assert not {row[field] for row in train} & {row[field] for row in heldout}
    assert len({row["prompt"] for row in train}) == 1500


@pytest.mark.parametrize("level", LEVELS)
def test_the_reference_of_every_pair_is_right_and_as_long_as_its_level_says(level: str) -> None:
    for row in pairs(seed=5, count=150, level=level, split="heldout"):
        assert check(row["response"], row["metadata"]).ok
        assert row["skill"] == "workflow"
        assert row["reference_answer"] == row["response"] == str(parse(row["response"]))
        assert row["response"].count("\n") + 1 in (range(1, 4) if level == "easy" else range(4, 7))


def test_names_and_numbers_of_the_program_stand_in_the_question() -> None:
    keywords = {"charge", "sift", "dross", "rank", "skim", "dregs", "draw", "forge", "brand", "melt", "stack", "weld"}
    for row in pairs(seed=6, count=300, level="hard"):
        program = parse(row["response"])
        for statement in program.statements[1:]:
            for token in str(statement).split()[1:]:
                if token.isdigit():
                    assert token in row["prompt"], row["prompt"]
        assert not keywords & set(row["prompt"].lower().split()) - {"brand"}


def test_equal_options_give_equal_rows_in_another_process_and_a_prefix_for_a_smaller_count() -> None:
    program = (
        "import hashlib, json\n"
        "from bloomery.data.curated.workflow.data import manual, pairs\n"
        "rows = [*manual(seed=3, count=60), *pairs(seed=3, count=60, level='hard')]\n"
        "print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())"
    )
    source = str(Path(bloomery.__file__).parents[1])
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": source, "PYTHONHASHSEED": salt},
            capture_output=True, text=True, check=True,
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1
    assert list(manual(seed=3, count=20)) == list(islice(manual(seed=3, count=60), 20))
    assert next(manual(seed=3))["text"] != next(manual(seed=4))["text"]


def test_bad_options_are_refused_by_name() -> None:
    for rows, key in (
        (manual(split="test"), "split: test"),
        (pairs(level="medium"), "level: medium"),
        (pairs(count=0), "count: 0"),
    ):
        with pytest.raises(InputError, match=key):
            next(rows)
