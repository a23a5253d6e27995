"""The controller on a simulated model: it holds a budget that can be held, and wastes little of it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from bloomery.train.hold import Decision, Limits, Seen, allowance, decide, forecast, quickening

LIMITS = Limits(0.005, (0.01, 0.95), 0.1)
LOOKS = 16


@dataclass
class Plant:
    """A model whose loss rises, by rate spent, towards a level that the domain's share sets; it drifts with that."""

    level: float
    speed: float = 0.5
    noise: float = 0.0
    jitter: float = 0.0
    seed: int = 0
    rises: list[float] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def run(self, replay: float, limits: Limits = LIMITS) -> Plant:
        """A whole run of `LOOKS` measurements, the last fifth of it annealed."""
        draw = random.Random(self.seed)
        bias = draw.gauss(0, self.noise)
        plan = [1.0 if k < 0.8 * LOOKS else 1 - math.sqrt((k - 0.8 * LOOKS) / (0.2 * LOOKS)) for k in range(LOOKS)]
        rise = drift = spent = 0.0
        rate, seen = 1.0, []
        for k, mass in enumerate(plan):
            toward = self.level * (1 - replay) ** 1.5
            rise += (toward - rise) * (1 - math.exp(-self.speed * mass * rate))
            drift += 0.01 * mass * rate * (1 - replay)
            spent += mass * rate
            left = sum(plan[k + 1 :]) * rate
            found = rise + bias + draw.gauss(0, self.jitter)
            seen.append(Seen(k + 1, spent / (spent + left), found, self.noise, drift, self.noise / 2))
            self.rises.append(rise)
            self.decisions.append(decide(replay, rate, seen, limits, (k + 1) / LOOKS))
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
    found = decide(0.5, 1.0, seen, LIMITS, 0.3)
    assert (found.did, found.replay, found.rate) == ("kept", 0.5, 1.0)


def test_the_rate_is_lowered_only_under_the_most_replay() -> None:
    limits = Limits(0.005, (0.01, 0.8), 0.1)
    plant = Plant(1.0).run(0.5, limits)
    first = plant.did.index("lower rate")
    assert plant.decisions[first - 1].replay == 0.8
    assert plant.did[-1] == "at its bounds"
    assert (plant.decisions[-1].replay, plant.decisions[-1].rate) == (0.8, 0.1)
    assert plant.rises[-1] > limits.budget


def test_the_rate_comes_back_before_the_share() -> None:
    seen = [Seen(k, k / 10, -0.01 * k, 0.0, 0.001 * k) for k in (1, 2, 3)]
    found = decide(0.95, 0.5, seen, LIMITS, 0.3)
    assert (found.did, found.replay, found.rate) == ("rate back", 0.95, 0.75)


def test_a_rise_that_turns_in_time_is_left_alone() -> None:
    seen = [Seen(1, 0.1, 0.03, 0.0, 0.01), Seen(2, 0.2, 0.02, 0.0, 0.011)]
    found = decide(0.95, 1.0, seen, LIMITS, 0.2)
    assert (found.did, found.replay, found.rate) == ("falling", 0.95, 1.0)


def test_nothing_is_given_back_while_the_model_leaves_its_start_ever_faster() -> None:
    steady = [Seen(k, k / 10, -0.01, 0.0, 0.001 * k) for k in (1, 2, 3)]
    leaving = [*steady[:2], Seen(3, 0.3, -0.01, 0.0, 0.005)]
    assert (quickening(steady), quickening(leaving)) == (False, True)
    assert decide(0.5, 1.0, steady, LIMITS, 0.3).did == "less replay"
    assert decide(0.5, 1.0, leaving, LIMITS, 0.3).did == "quickening"


def test_the_allowance_grows_and_leaves_room_for_proof() -> None:
    exact, noisy = Seen(1, 0.1, 0.0, 0.0, 0.0), Seen(1, 0.1, 0.0, 0.002, 0.0, 0.001)
    assert [allowance(exact, 0.01, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.005, 0.0075, 0.01])
    assert allowance(noisy, 0.01, 1.0) == pytest.approx(0.008)
    assert allowance(Seen(1, 0.1, 0.0, 0.02, 0.0, 0.02), 0.01, 1.0) == pytest.approx(0.0025)


def test_a_forecast_does_not_go_beyond_the_end() -> None:
    seen = [Seen(1, 0.3, 0.003, 0.0, 0.0), Seen(2, 0.6, 0.006, 0.0, 0.0), Seen(3, 0.9, 0.009, 0.0, 0.0)]
    assert forecast(seen, 1) == pytest.approx(0.01)
    assert forecast(seen[:2], 1) == pytest.approx(0.009)
    assert forecast(seen[:1], 1) == pytest.approx(0.006), "the start is where it has not risen"
