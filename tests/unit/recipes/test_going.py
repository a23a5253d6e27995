"""Whether a run by rewards can learn anything is found before its first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import attempt

from bloomery.graders.load import load_grader
from bloomery.graders.payload import Sample
from bloomery.recipes.explain import explain
from bloomery.recipes.going import Base, base, refusal, top_of, unaccepted
from bloomery.recipes.load import Loaded

from .conftest import CPU, rows

Load = Callable[..., Loaded]
RECIPE = "family: tiny\nobjective: rl\ndata: {domain: asks.jsonl}\nbudget: 2 steps\n"


def groups(*rewards: list[float | None]) -> list[list]:
    return [[attempt(reward) for reward in group] for group in rewards]


@pytest.mark.parametrize(
    ("rewards", "top", "said", "fix"),
    [
        ([[0.0] * 4] * 8, 1.0, "gets no task right", "fine-tune it first"),
        ([[1.0] * 4] * 8, 1.0, "nearly all tasks right", "harder tasks"),
        ([[0.5] * 4] * 8, None, "the same reward for every answer", "fine-tune it first"),
        ([[None] * 4] * 8, 1.0, "could be scored", "grade validate"),
    ],
)
def test_what_teaches_nothing_is_refused(rewards, top: float | None, said: str, fix: str) -> None:
    problem = refusal(base(groups(*rewards), top))
    assert problem is not None and said in problem.message and fix in (problem.fix or "")


def test_between_the_bounds_the_rate_is_told_with_its_interval() -> None:
    found = base(groups([1.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.0, None, 0.0, 0.0]), 1.0)
    assert refusal(found) is None and found.right == pytest.approx(1 / 11)
    assert 0 <= found.low < found.right < found.high < 1
    assert "9% right [" in found.said and "of 11 answers to 3 tasks" in found.said


def test_a_few_references_without_a_score_are_told_by_row_and_one_with_a_low_score_is_refused() -> None:
    spec = {"type": "number"}
    number = load_grader(spec)
    samples = [Sample(f"r{n}", [], f"{n}" if n != 3 else "three", {}) for n in range(16)]
    problem, told = unaccepted(number, samples, spec)
    assert problem is None and "1 of 16" in told and "of the row `r3` the reference answer has no score" in told
    problem, told = unaccepted(number, samples[:3], spec)
    assert problem is None and told == ""
    low = {"type": "regex", "pattern": "[0-9]"}
    problem, told = unaccepted(load_grader(low), samples, low)
    assert problem is not None and "of the row `r3` the reference answer gets 0, not 1" in problem.message


def test_partial_credit_is_something_to_learn_from_though_nothing_is_right() -> None:
    assert refusal(base(groups([0.2, 0.4], [0.0, 0.0]), 1.0)) is None
    assert refusal(Base(((0.2, 0.4),), None)) is None


def test_full_marks_are_known_where_the_grader_says_so() -> None:
    assert top_of({"type": "exact"}) == 1.0 and top_of({"type": "python", "range": [0, 10]}) == 10.0
    assert top_of({"type": "endpoint"}) is None and top_of({"type": "endpoint", "scale": [0, 5]}) == 1.0


@pytest.mark.parametrize(
    ("reward", "words", "said"),
    [
        ("{type: number}", 1, ""),
        ("{type: number}", 4, ""),
        ("{type: number}", 5, "5 of 16 reference answers have no score: of the row `"),
        ("{type: exact}", 5, ""),
        ("{type: regex, pattern: zzz}", 5, ""),  # `response` is an example of an answer to a form, not the right one
    ],
)
def test_explain_tries_the_references_of_a_cheap_reward(
    here: Path, recipe: Load, reward: str, words: int, said: str
) -> None:
    answers = [f"{n}" if n >= words else "some" for n in range(300)]
    rows(here / "asks.jsonl", [{"prompt": f"say {n}", "response": answers[n]} for n in range(300)])
    problems = [str(problem) for problem in explain(recipe(RECIPE + f"reward: {reward}\n"), CPU).problems]
    assert (said in " ".join(problems)) if said else problems == [], problems
