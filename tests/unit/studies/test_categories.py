"""Weights are drawn within bounds, their law is found, and noise is not taken for one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bloomery.studies.categories import best_weights, drawn, fit_weights, rounded, weighed
from bloomery.studies.micro import Point

PRESET = {"news": 0.5, "code": 0.27, "books": 0.2, "safety": 0.03}


def ends(noise: float, effect: float = 0.05) -> list[Point]:
    """Runs in which more code lowers the domain's loss, and more news the general one."""
    rng = np.random.default_rng(5)
    found = []
    for weights in drawn(PRESET, 9):
        domain = 2.0 * math.exp(-effect * math.log(weights["code"] + 0.01) + noise * rng.normal())
        general = 1.5 * math.exp(-effect * math.log(weights["news"] + 0.01) + noise * rng.normal())
        found.append(Point("toy/hot", 0.3, 40_000, domain, general, weights))
    return found


def test_drawn_weights_sum_to_one_and_stay_near_the_preset() -> None:
    for weights in drawn(PRESET, 50):
        assert sum(weights.values()) == pytest.approx(1, abs=1e-9)
        assert weights["safety"] == PRESET["safety"]  # too small to search over
        assert all(PRESET[name] / 3.1 <= weights[name] <= 3.1 * PRESET[name] for name in weighed(PRESET))
    assert drawn(PRESET, 5) == drawn(PRESET, 5) and drawn(PRESET, 5) != drawn(PRESET, 5, seed=1)


def test_rounding_leaves_a_whole() -> None:
    assert rounded({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}) == {"a": 0.334, "b": 0.333, "c": 0.333}


def test_the_law_finds_which_category_helps() -> None:
    domain, general = (fit_weights(ends(0.001), quantity, PRESET) for quantity in ("domain", "general"))
    assert domain.holds and general.holds
    more_code = {**PRESET, "code": 0.47, "news": 0.3}
    expected = math.expm1(-0.05 * math.log(0.48 / 0.28))
    found = domain.effect(more_code, PRESET)
    assert found.low <= expected <= found.high and found.estimate == pytest.approx(expected, abs=0.005)
    assert general.effect(more_code, PRESET).low > 0
    best = best_weights(domain, general, PRESET, slack=0.01)[0]
    assert best["code"] > PRESET["code"] and general.effect(best, PRESET).high <= 0.01


def test_noise_does_not_pass_the_gate() -> None:
    domain, general = (fit_weights(ends(0.02, effect=0.0), quantity, PRESET) for quantity in ("domain", "general"))
    assert not domain.holds and not general.holds
    assert best_weights(domain, general, PRESET, slack=1.0) == []


def test_a_domain_that_cannot_be_predicted_leaves_the_choice_to_the_general_loss() -> None:
    noise = fit_weights(ends(0.02, effect=0.0), "domain", PRESET)
    general = fit_weights(ends(0.001), "general", PRESET)
    best = best_weights(noise, general, PRESET, slack=0.0)[0]
    assert best["news"] > PRESET["news"] and general.effect(best, PRESET).high <= 0
