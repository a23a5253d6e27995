"""A reward that is out of reach is waited for, and then its answers are graded after all; a few failures are data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bloomery.core.errors import TrainingError
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Sample, Score
from bloomery.rl.ahead import Stopped
from bloomery.rl.drift import FILE, KEPT, Drift
from bloomery.rl.outage import Patient, heed


@dataclass
class Server:
    """Fails while the clock is below `back`, and always at every `nth` answer."""

    back: float = 0.0
    nth: int = 0
    now: float = 0.0
    shift: float = 0.0
    name: str = "server"
    verified: bool = True
    seen: list[str] = field(default_factory=list)

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        found = []
        for one in samples:
            self.seen.append(one.id)
            fails = self.now < self.back or (self.nth and len(self.seen) % self.nth == 0)
            found.append(Score(one.id, None, reason="refused") if fails else Score(one.id, 0.5 + self.shift))
        return found

    @property
    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Clock(lambda: self.now, sleep)


def samples(count: int) -> list[Sample]:
    return [Sample(f"r{n}", [{"role": "assistant", "content": f"answer {n}"}]) for n in range(count)]


def test_single_failures_are_data_and_nobody_waits() -> None:
    server = Server(nth=5)
    patient = Patient(server, 60, clock=server.clock)
    scores = [score for _ in range(20) for score in patient.grade(samples(16))]
    assert sum(score.aggregate_reward_score is None for score in scores) == 64 and server.now == 0


def test_an_outage_is_waited_out_and_what_failed_is_graded_after_it() -> None:
    server, said = Server(back=42), []
    patient = Patient(server, 600, said.append, server.clock)
    scores = patient.grade(samples(24))
    assert [score.aggregate_reward_score for score in scores] == [0.5] * 24
    assert 42 <= server.now < 50 and patient.paused == server.now and not patient.out
    assert "sampling waits" in said[0] and "gives scores again" in said[1]


def test_one_that_lasts_stops_the_run_with_its_cause() -> None:
    server = Server(back=1e9)
    patient = Patient(server, 100, clock=server.clock)
    with pytest.raises(TrainingError, match=r"`server` gave no score for 100 s; its last reason: refused"):
        patient.grade(samples(24))
    assert server.now == 100


def test_a_third_of_the_answers_without_a_score_is_an_outage_too() -> None:
    server, said = Server(nth=2), []
    Patient(server, 600, said.append, server.clock).grade(samples(64))
    assert said and server.now > 0


def test_a_judge_is_asked_again_about_the_same_answers_and_its_change_is_told(tmp_path: Path) -> None:
    server = Server()
    drift = Drift(lambda: server, tmp_path, every=4)
    first = samples(40)
    scores = [one.aggregate_reward_score for one in server.grade(first)]
    assert drift.see(first, scores, 0) == {} and len(drift.kept) == KEPT
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    server.shift = -0.25
    again = Drift(lambda: server, tmp_path, every=4)  # a resumed run has the same set
    assert again.see(first, [], 3) == {}
    assert again.see(first, [], 4) == {"judge_drift": -0.25, "judge_moved": 0.25}
    assert again.see(first, [], 4) == {}
    assert len(set(server.seen)) == 40 + KEPT  # under ids of their own: nobody answers from memory


def test_a_wait_for_a_server_ends_when_the_run_is_asked_to_stop() -> None:
    server = Server(back=1e9)

    def asleep(seconds: float) -> None:
        heed(patient, stopping=True)

    patient = Patient(server, 1e9, clock=Clock(now=lambda: 0.0, sleep=asleep))
    with pytest.raises(Stopped):
        patient.grade([Sample(str(n), []) for n in range(64)])
    heed(patient, stopping=False)
    assert not patient.stopping.is_set()
