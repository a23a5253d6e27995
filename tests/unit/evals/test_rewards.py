"""Implicit rewards: half right and 0 for the start itself, and what the log-probabilities say for anything else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bloomery.evals.results import EvalResult, Record, SuiteResult
from bloomery.evals.rewards import DESIRABLE, UNDESIRABLE, rewards


def result(kind: str, nats: Sequence[float], said: Sequence[str] = ()) -> EvalResult:
    records = [Record(str(n), score=1.0, nats=v, reference=(said or [""] * len(nats))[n]) for n, v in enumerate(nats)]
    return EvalResult("model", {"held": SuiteResult("held", kind, "domain", tuple(records), 0.0)}, 0.0)


@pytest.mark.parametrize("kind", ["preference", "judged"])
def test_a_model_beside_itself_is_half_right_without_a_margin(kind: str) -> None:
    same = result(kind, [1.0, -2.0, 3.0] * 10, [DESIRABLE, UNDESIRABLE, DESIRABLE] * 10)
    (found,) = rewards(same, same, 0.1)
    assert (found.accuracy.estimate, found.margin.estimate, found.examples) == (0.5, 0.0, 30)


def test_pairs_are_right_where_the_chosen_answer_gained_more_than_the_rejected_one() -> None:
    before, after = [4.0] * 40, [1.0] * 30 + [6.0] * 10
    (found,) = rewards(result("preference", before), result("preference", after), 0.5)
    assert found.accuracy.estimate == 0.75 and found.margin.estimate == pytest.approx(0.5 * (30 * 3 - 10 * 2) / 40)
    assert found.accuracy.low < 0.75 < found.accuracy.high and found.margin.low < found.margin.estimate


def test_judged_answers_are_right_where_good_ones_gained_and_bad_ones_lost() -> None:
    said = [DESIRABLE, UNDESIRABLE] * 20
    (found,) = rewards(result("judged", [5.0, 5.0] * 20, said), result("judged", [3.0, 6.0] * 20, said), 0.1)
    assert found.accuracy.estimate == 1.0 and found.margin.estimate == pytest.approx(0.1 * (2 + 1))


def test_too_few_pairs_have_no_interval_and_other_suites_no_reward() -> None:
    (found,) = rewards(result("preference", [1.0] * 3), result("preference", [0.0] * 3), 0.1)
    assert math.isnan(found.accuracy.low) and found.accuracy.estimate == 1.0
    assert rewards(result("bpb", [1.0]), result("bpb", [1.0]), 0.1) == ()
