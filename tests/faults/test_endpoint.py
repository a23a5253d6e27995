"""A reward endpoint may be slow, down, mad or malicious: no wrong score is ever used, and no call hangs."""

from __future__ import annotations

import pytest
from reward_server import FAULTS, reward_server, truth

from bloomery.graders.load import Given, load_grader
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Sample

PATIENT = Given(clock=Clock(sleep=lambda seconds: None))
"""Does not wait between tries; a try itself takes its real time."""


def samples(count: int) -> list[Sample]:
    return [Sample(f"row-{at}", [{"role": "assistant", "content": "x"}], "x") for at in range(count)]


def spec(url: str, **more: object) -> dict[str, object]:
    quick = {"seconds": 0.3, "tries": 3, "private": True, "range": [0, 1], "failures": 10_000}
    return {"type": "endpoint", "url": url, **quick, **more}


@pytest.mark.parametrize("kind", sorted(FAULTS))
@pytest.mark.parametrize("batch", [1, 4])
def test_no_fault_of_an_endpoint_becomes_a_score(kind: str, batch: int) -> None:
    with reward_server(FAULTS[kind]) as url:
        scores = load_grader(spec(url, batch=batch), given=PATIENT).grade(samples(32))
    used = {score.id: score.aggregate_reward_score for score in scores if score.aggregate_reward_score is not None}
    assert used == {name: truth(name) for name in used}
    assert [score.id for score in scores] == [sample.id for sample in samples(32)]
    assert all(score.reason for score in scores if score.aggregate_reward_score is None)
    assert used, "some replies are right"


@pytest.mark.parametrize("kind", ["garbage", "no number", "wrong count", "wrong ids", "endless body"])
def test_an_endpoint_that_is_always_wrong_scores_nothing(kind: str) -> None:
    with reward_server(FAULTS[kind], share=1.0) as url:
        scores = load_grader(spec(url), given=PATIENT).grade(samples(40))
    assert {score.aggregate_reward_score for score in scores} == {None}


def test_the_oracle_itself_is_right_without_a_fault() -> None:
    with reward_server(None) as url:
        scores = load_grader(spec(url), given=PATIENT).grade(samples(40))
    assert [score.aggregate_reward_score for score in scores] == [truth(sample.id) for sample in samples(40)]


def test_nobody_there_is_unscorable_with_the_reason() -> None:
    [score] = load_grader(spec("http://127.0.0.1:9/"), given=PATIENT).grade(samples(1))
    assert score.aggregate_reward_score is None and "connection" in score.reason


def test_a_private_address_needs_the_users_word() -> None:
    with reward_server(None) as url:
        [score] = load_grader(spec(url, private=False), given=PATIENT).grade(samples(1))
        assert score.aggregate_reward_score is None and "private: true" in score.reason
        [score] = load_grader(spec(url, private=False, hosts=["127.0.0.1"]), given=PATIENT).grade(samples(1))
        assert score.aggregate_reward_score is not None
