"""The checker accepts what does the same, and nothing else."""

from __future__ import annotations

import json
from random import Random

import pytest

from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.check import check, metadata_for
from bloomery.data.curated.workflow.company import PLACES
from bloomery.data.curated.workflow.grammar import RELATIONS
from bloomery.data.curated.workflow.interpreter import run
from bloomery.data.curated.workflow.parser import parse
from bloomery.data.curated.workflow.sampler import LEVELS, sample_program

REFERENCE = "charge orders\nsift total over 50\nrank total down\nskim 3\ndraw buyer total"


def judge(program: str, reference: str = REFERENCE) -> bool:
    return check(program, metadata_for(parse(reference), seed=7)).ok


@pytest.mark.parametrize(
    "program",
    [
        REFERENCE,
        "charge orders\ndross total most 50\nrank total down\nskim 3\ndraw buyer total",
        "charge orders\nrank total down\nsift total over 50\nskim 3\ndraw total buyer",
        "  charge orders\n\nsift total least 51\nrank total down\nskim 3\ndraw buyer total\n",
    ],
)
def test_programs_that_do_the_same_are_right(program: str) -> None:
    assert judge(program)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (REFERENCE.replace("over", "least"), "expected"),
        (REFERENCE.replace("50", "51"), "expected"),
        (REFERENCE.replace("down", "up"), "expected"),
        (REFERENCE.replace("skim 3", "skim 4"), "expected"),
        (REFERENCE.replace("skim", "dregs"), "expected"),
        (REFERENCE.replace("draw buyer total", "draw buyer"), "expected"),
        (REFERENCE + "\ntally", "expected"),
        (REFERENCE + "\npour desk", "expected"),
        (REFERENCE.replace("orders", "bills"), "line 2: found `total`"),
        (REFERENCE.replace("sift", "keep"), "line 2: found `keep`, expected a statement"),
        ("", "line 1: found `nothing`"),
        ("Here is the program:\n" + REFERENCE, "line 1: found `Here`"),
    ],
)
def test_programs_that_do_something_else_are_wrong_and_say_why(program: str, reason: str) -> None:
    verdict = check(program, metadata_for(parse(REFERENCE), seed=7))
    assert not verdict.ok
    assert reason in verdict.reason


def test_metadata_is_plain_json_and_bad_metadata_is_refused() -> None:
    metadata = metadata_for(parse(REFERENCE), seed=7)
    assert check(REFERENCE, json.loads(json.dumps(metadata))).ok
    for bad in ({}, {"reference": 5}, {"reference": "keep it"}, {"reference": REFERENCE, "seed": "x"}):
        with pytest.raises(InputError, match=r"metadata\.reference"):
            check(REFERENCE, bad)


def _mutant(rng: Random, program: str) -> str:
    """The program with one word changed to another of its sort, one number moved, or one line lost."""
    lines = [line.split() for line in program.split("\n")]
    at = rng.randrange(1, len(lines))
    swaps = {
        "sift": "dross",
        "dross": "sift",
        "up": "down",
        "down": "up",
        "skim": "dregs",
        "dregs": "skim",
        "peak": "ebb",
    }
    swaps |= {"ebb": "peak", "weigh": "level", "level": "weigh", "and": "or", "or": "and", "is": "not", "not": "is"}
    swaps |= dict(zip(RELATIONS[:4], ("least", "most", "over", "under"), strict=True))
    swaps |= dict(zip(PLACES, (*PLACES[1:], PLACES[0]), strict=True))
    places = [i for i, token in enumerate(lines[at]) if token in swaps or token.isdigit()]
    if places and rng.random() < 0.8:
        i = rng.choice(places)
        token = lines[at][i]
        lines[at][i] = swaps[token] if token in swaps else str(int(token) + 1)
    else:
        del lines[at]
    return "\n".join(" ".join(line) for line in lines)


@pytest.mark.parametrize("level", LEVELS)
def test_references_pass_and_few_mutants_slip_through(level: str) -> None:
    rng = Random(f"mutants:{level}")
    passed = total = 0
    for seed in range(150):
        program = sample_program(rng, level, "train")
        metadata = metadata_for(program, seed)
        assert check(str(program), metadata).ok
        if len(program.statements) > 1:
            mutant = _mutant(rng, str(program))
            total += mutant != str(program)
            passed += mutant != str(program) and check(mutant, metadata).ok
    # Some mutants do mean the same: a line that loses nothing, a rank before a sum, a test no row decides.
    assert total > 120
    assert passed / total < (0.04 if level == "easy" else 0.18)


def test_samples_run_on_their_tables_without_error() -> None:
    from bloomery.data.curated.workflow.company import sample_tables

    rng, tables = Random("runs"), sample_tables(3, 9)
    for level in LEVELS:
        for _ in range(300):
            run(sample_program(rng, level, "train"), tables)
