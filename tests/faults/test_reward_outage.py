"""Rewards by a real endpoint that fails a third of its calls, or is gone for a minute: training learns of neither."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from reward_server import FAULTS, reward_server, truth

from bloomery.core.errors import TrainingError
from bloomery.graders.endpoint import Endpoint
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Sample
from bloomery.rl.outage import Patient


class Time:
    """Passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self._lock = 0.0, threading.Lock()
        self.clock = Clock(lambda: self.now, self._sleep, lambda: 0.5)

    def _sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


def samples(step: int, count: int = 64) -> list[Sample]:
    said = {"role": "assistant", "content": "an answer"}
    return [Sample(f"{step}:{number}", [said]) for number in range(count)]


@pytest.mark.parametrize("kind", ["status 5xx", "garbage", "wrong count"])
def test_a_third_of_the_calls_may_fail_without_a_wrong_score(kind: str) -> None:
    time = Time()
    with reward_server(FAULTS[kind], share=0.3) as url:
        patient = Patient(Endpoint(url, private=True, batch=8, clock=time.clock), 3600, clock=time.clock)
        scores = [score for step in range(6) for score in patient.grade(samples(step))]
    known = [one for one in scores if one.aggregate_reward_score is not None]
    assert all(one.aggregate_reward_score == truth(one.id) for one in known)
    assert len(known) > (0.95 if kind == "status 5xx" else 0.6) * len(scores)  # what is garbled is not asked again


def test_a_minute_without_the_endpoint_costs_a_minute_and_no_score() -> None:
    time, said = Time(), []
    with ExitStack() as stack:
        address = "http://127.0.0.1:9/reward"  # nobody listens
        gone = Endpoint(address, private=True, batch=8, clock=time.clock)

        class Moved:
            """The endpoint, which comes back after a minute."""

            name, verified, made = "endpoint", True, gone

            def grade(self, asked: list[Sample]) -> list:
                if time.now > 60 and self.made is gone:
                    url = stack.enter_context(reward_server(None))
                    self.made = Endpoint(url, private=True, batch=8, clock=time.clock)
                return self.made.grade(asked)

        scores = Patient(Moved(), 3600, said.append, time.clock).grade(samples(0))
    assert [one.aggregate_reward_score for one in scores] == [truth(f"0:{n}") for n in range(64)]
    assert time.now < 120 and "gives scores again" in said[-1]


def test_an_endpoint_that_stays_away_ends_the_run_after_the_time_it_was_given_once() -> None:
    time = Time()
    gone = Endpoint("http://127.0.0.1:9/reward", private=True, batch=8, clock=time.clock, outage=300)
    with pytest.raises(TrainingError, match="gave no score for"):
        Patient(gone, 300, clock=time.clock).grade(samples(0))
    assert 300 <= time.now < 420  # not once more for its own breaker
