"""The controller on a simulated model: it holds a budget that can be held, and wastes little of it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from bloomery.train.hold import FADES, Decision, Limits, Seen, allowance, decide, heading, quickening

LIMITS = Limits(0.005, (0.01, 0.95), 0.1)
LOOKS = 16


@dataclass
class Plant:
    """A model whose loss rises, by rate spent, towards a level that the domain's share sets; it drifts with that.

    Of the rise a part `fades` as the rate falls, linearly to zero.
    """

    level: float
    speed: float = 0.5
    noise: float = 0.0
    jitter: float = 0.0
    fades: float = 0.0
    seed: int = 0
    rises: list[float] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def run(self, replay: float, limits: Limits = LIMITS) -> Plant:
        """A whole run of `LOOKS` measurements, the last fifth of it annealed."""
        draw = random.Random(self.seed)
        bias = draw.gauss(0, self.noise)
        annealed = [1 - math.sqrt(max(0.0, k / LOOKS - 0.8) / 0.2) for k in range(LOOKS)]
        plan = [1 - k / LOOKS for k in range(LOOKS)] if self.fades else annealed
        rise = drift = spent = 0.0
        rate, seen = 1.0, []
        for k, mass in enumerate(plan):
            toward = self.level * (1 - replay) ** 1.5
            rise += (toward - rise) * (1 - math.exp(-self.speed * mass * rate))
            drift += 0.01 * mass * rate * (1 - replay)
            spent += mass * rate
            left = sum(plan[k + 1 :]) * rate
            shown = rise * (1 - self.fades * (1 - mass * rate))
            found = shown + bias + draw.gauss(0, self.jitter)
            course = {"rate": mass * rate, "last": 0.0} if self.fades else {}
            seen.append(Seen(k + 1, spent / (spent + left), found, self.noise, drift, self.noise / 2, **course))
            self.rises.append(shown)
            self.decisions.append(decide(replay, rate, seen, limits))
            replay, rate = self.decisions[-1].replay, self.decisions[-1].rate
        return self

    @property
    def did(self) -> list[str]:
        return [decision.did for decision in self.decisions]


@pytest.mark.parametrize(("level", "speed", "replay"), [(0.03, 0.5, 0.5), (0.1, 1.0, 0.2), (0.02, 2.0, 0.05)])
def test_a_budget_that_can_be_held_is_held_and_used(level: float, speed: float, replay: float) -> None:
    plant = Plant(level, speed).run(replay)
    assert 0.75 * LIMITS.budget < plant.rises[-1] <= LIMITS.budget
    assert level * (1 - replay) ** 1.5 > LIMITS.budget, "left alone, it would not be"


def test_replay_that_is_not_needed_goes_back_to_the_domain() -> None:
    plant = Plant(0.02).run(0.9)
    assert plant.decisions[-1].replay < 0.7
    assert plant.rises[-1] <= LIMITS.budget


@pytest.mark.parametrize("seed", range(8))
def test_noise_of_the_measurement_does_not_break_the_budget(seed: int) -> None:
    plant = Plant(0.03, noise=0.001, jitter=0.0003, seed=seed).run(0.5)
    assert plant.rises[-1] <= LIMITS.budget


def test_inside_the_noise_nothing_changes() -> None:
    seen = [Seen(k, k / 10, 0.001, 0.004, 0.001 * k) for k in (1, 2, 3)]
    found = decide(0.5, 1.0, seen, LIMITS)
    assert (found.did, found.replay, found.rate) == ("kept", 0.5, 1.0)


def test_the_rate_is_lowered_only_under_the_most_replay() -> None:
    limits = Limits(0.005, (0.01, 0.8), 0.1)
    plant = Plant(1.0, speed=0.05).run(0.5, limits)
    first = plant.did.index("lower rate")
    assert plant.decisions[first - 1].replay == 0.8
    assert plant.did[-1] == "at its bounds"
    assert (plant.decisions[-1].replay, plant.decisions[-1].rate) == (0.8, 0.1)
    assert plant.rises[-1] > limits.budget


def test_the_rate_comes_back_before_the_share() -> None:
    seen = [Seen(k, k / 10, -0.01 * k, 0.0, 0.001 * k) for k in (1, 2, 3)]
    found = decide(0.95, 0.5, seen, LIMITS)
    assert (found.did, found.replay, found.rate) == ("rate back", 0.95, 0.75)


def test_a_rise_that_turns_in_time_is_left_alone() -> None:
    seen = [Seen(1, 0.1, 0.03, 0.0, 0.01), Seen(2, 0.2, 0.02, 0.0, 0.011)]
    found = decide(0.95, 1.0, seen, LIMITS)
    assert (found.did, found.replay, found.rate) == ("falling", 0.95, 1.0)


def test_nothing_is_given_back_while_the_model_leaves_its_start_ever_faster() -> None:
    steady = [Seen(k, k / 10, -0.01, 0.0, 0.001 * k) for k in (1, 2, 3)]
    leaving = [*steady[:2], Seen(3, 0.3, -0.01, 0.0, 0.005)]
    assert (quickening(steady), quickening(leaving)) == (False, True)
    assert decide(0.5, 1.0, steady, LIMITS).did == "less replay"
    assert decide(0.5, 1.0, leaving, LIMITS).did == "quickening"


def test_what_is_aimed_at_leaves_room_for_proof() -> None:
    exact, noisy = Seen(1, 0.1, 0.0, 0.0, 0.0), Seen(1, 0.1, 0.0, 0.002, 0.0, 0.001)
    assert allowance(exact, 0.01) == pytest.approx(0.01)
    assert allowance(noisy, 0.01) == pytest.approx(0.008)
    assert allowance(Seen(1, 0.1, 0.0, 0.02, 0.0, 0.02), 0.01) == pytest.approx(0.0025)


def test_a_rise_is_carried_on_but_not_beyond_the_end() -> None:
    seen = [Seen(1, 0.3, 0.003, 0.0, 0.0), Seen(2, 0.6, 0.006, 0.0, 0.0), Seen(3, 0.9, 0.009, 0.0, 0.0)]
    assert heading(seen, 1) == pytest.approx(0.01)
    assert heading(seen[:2], 1) == pytest.approx(0.009)
    assert heading(seen[:1], 1) == pytest.approx(0.003), "a first jump is no trend"


def test_a_fall_is_not_carried_on() -> None:
    assert heading([Seen(1, 0.3, 0.009, 0.0, 0.0), Seen(2, 0.6, 0.006, 0.0, 0.0)], 1) == pytest.approx(0.006)


def test_a_part_of_the_rise_goes_as_the_rate_falls() -> None:
    early, late = Seen(1, 0.1, 0.01, 0.0, 0.0, rate=1.0, last=0.0), Seen(1, 0.9, 0.01, 0.0, 0.0, rate=0.0, last=0.0)
    held = Seen(1, 0.1, 0.01, 0.0, 0.0)
    assert [heading([one], 1) for one in (early, late, held)] == pytest.approx([0.01 * (1 - FADES), 0.01, 0.01])
    fallen = Seen(1, 0.1, -0.01, 0.0, 0.0, rate=1.0, last=0.0)
    assert heading([fallen], 1) == -0.01, "what lies below the start does not fade"


def test_a_jump_that_the_falling_rate_will_mend_is_left_alone() -> None:
    plant = Plant(0.012, speed=3.0, fades=0.6).run(0.5)
    assert set(plant.did) <= {"kept", "less replay", "falling", "quickening"}
    assert max(plant.rises) > LIMITS.budget / 2


def test_nothing_is_given_back_before_a_trend_is_known() -> None:
    seen = [Seen(k, k / 10, -0.01, 0.0, 0.001 * k) for k in (1, 2, 3)]
    assert [decide(0.5, 1.0, seen[:n], LIMITS).did for n in (1, 2, 3)] == ["kept", "kept", "less replay"]
