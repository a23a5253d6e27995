"""Tasks in environments: right, wrong or unscorable, each attempt by itself, and what changed between two models."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.evals.compare import compare
from bloomery.evals.measures import differences, measures
from bloomery.evals.played import Attempt, nobody, played
from bloomery.evals.report import make_report
from bloomery.evals.results import EvalResult, SuiteResult
from bloomery.evals.rolled_section import passed
from bloomery.evals.runner import evaluate
from bloomery.evals.suites import Row, Suite
from bloomery.evals.ungraded import ungraded

ROWS = [{"id": f"t{number}", "prompt": f"Walk {number}."} for number in range(12)]
LOST = "the environment's process died"


def suite(**more: Any) -> Suite:
    return Suite("lake", "environment", ROWS, "domain", environment={"type": "lake"} | more, samples=2, temperature=1.0)


def plays(rewards: Sequence[Sequence[float | None]]) -> Any:
    """Someone whose attempts earn these."""

    def play(suite: Suite, rows: Sequence[Row], seed: int) -> list[list[Attempt]]:
        return [[Attempt(one, LOST if one is None else "", 3, 7, f"went {one}") for one in many] for many in rewards]

    return play


def result(model: str, rewards: Sequence[Sequence[float | None]], **more: Any) -> EvalResult:
    one = suite(**more)
    records = tuple(played(plays(rewards), one, ROWS, 0))
    return EvalResult(model, {"lake": SuiteResult("lake", one.kind, one.group, records, 1.0, one.named_metrics)}, 1.0)


def test_an_attempt_is_right_from_its_reward_on_and_what_failed_is_neither() -> None:
    first, second, third, *_ = played(
        plays([[1.0, 0.2], [None, 0.6], [None, None], *[[0.0, 0.0]] * 9]), suite(), ROWS, 0
    )
    assert (first.score, second.score, third.score) == (0.5, 1.0, None) and third.reason == LOST
    assert first.values == {"unscorable": 0.0, "reward": 0.6, "turns": 3.0} and first.tokens == 14
    assert second.values["unscorable"] == 0.5 and second.values["reward"] == 0.6
    assert third.values == {"unscorable": 1.0} and [one.score for one in second.samples] == [None, 1.0]
    low = played(plays([[-3.0, -9.0]] * 12), suite(right=-5), ROWS, 0)
    assert low[0].score == 0.5 and low[0].values["reward"] == -6.0


def test_two_models_are_compared_task_by_task_with_what_went_wrong_and_right() -> None:
    before = result("a", [[1.0, 1.0]] * 2 + [[0.0, 0.0]] * 9 + [[None, None]])
    after = result("b", [[0.0, 0.0]] + [[1.0, 1.0]] * 7 + [[0.0, 0.0]] * 2 + [[None, 1.0]] * 2)
    [change] = compare(before, after).changes
    book = change.ledger
    assert book is not None and (book.lost, book.gained, book.stayed_right, book.stayed_wrong) == (1, 7, 1, 2)
    assert change.unscorable == 1 and change.examples == 11 and change.change.low > 0
    found = {one.name: one for one in differences(before, after)}
    assert set(found) == {"score", "pass@1", "pass@2", "reward", "turns", "unscorable"}
    assert (found["pass@2"].examples, found["pass@1"].examples, found["unscorable"].examples) == (10, 11, 12)
    assert found["reward"].change.estimate == pytest.approx(change.change.estimate)
    told = [one.said() for one in ungraded([before, after])]
    assert told[0].startswith("2 of 24 answers of a to lake") and told[1].startswith("2 of 24 answers of b to lake")
    rows = passed(make_report("t", before, after))
    assert [row[0] for row in rows] == [
        f"lake, {name}" for name in ("pass@1", "pass@2", "reward", "turns", "unscorable")
    ]
    assert rows[3][2:4] == ["3.00", "3.00"] and float(rows[3][4]) == 0
    assert measures(before.suites["lake"])[0].found.estimate == pytest.approx(2 / 11)


def test_a_suite_says_what_its_environment_is_and_somebody_must_play_it() -> None:
    for wrong in ({"kind": "environment"}, {"kind": "bpb", "environment": {"type": "lake"}}):
        with pytest.raises(InputError, match="`environment` belongs to `kind: environment`"):
            Suite("lake", rows=ROWS, group="domain", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`f1` says nothing about a suite of `kind: environment`"):
        Suite("lake", "environment", ROWS, "domain", environment={"type": "x"}, metrics=("f1",))
    with pytest.raises(InputError, match="nothing here plays"):
        nobody(suite(), ROWS, 0)


def test_the_runner_lets_somebody_play(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery.evals.runner.Prompter", lambda tokenizer, render: None)
    engine: Any = SimpleNamespace()
    found = evaluate(engine, None, [suite()], play=plays([[1.0, 0.0]] * 12))
    assert found.suites["lake"].value == 0.5 and found.suites["lake"].metrics[:2] == ("pass@1", "pass@2")
