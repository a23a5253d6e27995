"""The loop file, the shipped loop, and the page of a loop; the loop itself runs in `e2e/test_review.py`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import recipes_dir
from bloomery.recipes.explain import explain
from bloomery.review.spec import given_labels
from bloomery.studies.active_file import read_loop
from bloomery.studies.active_page import to_html
from bloomery.studies.classifying import read_rows


def test_the_shipped_loop_is_found_by_name_and_has_an_answer_for_every_question() -> None:
    loop = read_loop("active")
    assert (loop.name, loop.file.oracle, loop.file.order) == ("active", True, "value")
    assert loop.test is not None
    pool, test = read_rows(loop.pool), read_rows(loop.test)
    assert all(given_labels(loop.spec, row, None).keys() == loop.spec.questions.keys() for row in [*pool, *test])
    assert not {row["text"] for row in pool} & {row["text"] for row in test}
    assert explain(loop.loaded).plan is not None


def test_changes_are_laid_over_a_loop_and_make_it_another_one() -> None:
    usual, other = read_loop("active"), read_loop("active", ["order=random", "name=at-random", "rounds=1"])
    assert (other.name, other.file.order, other.file.rounds) == ("at-random", "random", 1)
    assert usual.asked != other.asked
    assert read_loop("active", ["rounds=1"]).asked != read_loop("active", ["rounds=2"]).asked


@pytest.mark.parametrize(
    ("named", "changes", "says"),
    [
        ("activ", [], r"there is no loop `activ` \(did you mean `active`\?\)"),
        ("active", ["round=3"], "there is no key `round`"),
        ("active", ["rounds"], "`rounds` is no override"),
        ("active", ["labels=0"], "`labels: 0`"),
        ("active", ["caught.spam=0.5"], "`caught.spam` is no question"),
    ],
)
def test_what_is_no_loop_is_refused(named: str, changes: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_loop(named, changes)


def test_the_shipped_rows_are_those_that_their_program_writes(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_active", repository / "docs" / "make_active.py")
    assert spec is not None and spec.loader is not None
    made: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    for name, count in (("pool", made.POOL), ("test", made.TEST)):
        rows = [json.loads(line) for line in (recipes_dir() / "active" / f"{name}.jsonl").read_text().splitlines()]
        assert rows == made.tickets(name, count)


def test_the_page_shows_every_round_by_its_labels() -> None:
    rounds = [
        {"labels": 40 * k, "f1": 0.2 * k, "auroc": 0.5, "questions": {"wet": {"f1": 0.2 * k, "auroc": 0.5}}}
        for k in (1, 2)
    ]
    page = to_html("mine", rounds)
    assert page.count("<circle") == 2 * 3 and "F1 0.400 after 80" in page
    assert "After 80 labels: F1 0.400, AUROC 0.500" in page and "style=" not in page
