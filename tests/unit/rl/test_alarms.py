"""A reward that teaches nothing, or something else than was meant, is told once, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from attempts import attempt

from bloomery.rl.alarms import WINDOW, Watch
from bloomery.rl.statistics import statistics

FINE = {
    "rollouts": 8.0, "unscorable": 0.0, "level_groups": 0.3, "reward": 0.4, "reward_low": 0.0, "reward_high": 1.0,
    "length_correlation": 0.1, "reward/right": 0.4, "spread/right": 1.0,
}  # fmt: skip


def heard(**changed: Any) -> dict[str, str]:
    watch = Watch()
    found = [watch.see(FINE | changed) for _ in range(WINDOW + 2)]
    assert not any(found[: WINDOW - 1]) and not any(found[WINDOW:])  # once, and not before there is enough to see
    return found[WINDOW - 1]


def test_a_healthy_reward_raises_none() -> None:
    assert heard() == {}


@pytest.mark.parametrize(
    ("changed", "name", "said"),
    [
        ({"level_groups": 0.9}, "level groups", "90% of the groups"),
        ({"spread/form": 0.0, "reward/form": 1.0}, "dead component", "`form` (1)"),
        ({"reward": 0.97}, "saturated", "at 97% of what was ever given"),
        ({"length_correlation": 0.7}, "follows length", "longer answers to a task"),
        ({"length_correlation": -0.7}, "follows length", "shorter answers to a task"),
        ({"unscorable": 2.0}, "unscored", "25% of the answers have no score"),
        ({"rewards_wait": 1.0, "kl_start": 0.2}, "held back", "stays over its cap (0.2)"),
        ({"judge_drift": -0.2}, "drifting judge", "-0.20 more than at the start"),
    ],
)
def test_each_fault_is_called_by_its_name(changed: dict[str, float], name: str, said: str) -> None:
    found = heard(**changed)
    assert list(found) == [name] and said in found[name]


def test_an_alarm_that_ended_is_given_again() -> None:
    watch = Watch()
    told = [watch.see(FINE | {"level_groups": level}) for level in [0.9] * WINDOW + [0.0] * WINDOW + [0.9] * WINDOW]
    assert sum("level groups" in one for one in told) == 2


def test_figures_of_a_step_follow_from_its_rollouts() -> None:
    groups = [
        [
            attempt(1.0, 4, components={"form": 1.0, "right": 1.0}),
            attempt(0.0, 2, components={"form": 1.0, "right": 0.0}),
        ],
        [attempt(0.5, 9), attempt(None, 30, finished=False)],
    ]  # fmt: skip
    found = statistics(groups)
    assert found["reward"] == 0.5 and (found["reward_low"], found["reward_high"]) == (0.0, 1.0)
    assert found["reward_best"] == 0.75 and found["unscorable"] == 1 and found["cut_off"] == 0.25
    assert found["length_correlation"] == pytest.approx(1.0)  # within the one group that has two rewards
    assert (found["reward/form"], found["spread/form"], found["spread/right"]) == (1.0, 0.0, 1.0)
    assert statistics([]) == {"rollouts": 0.0, "trained_rollouts": 0.0, "unscorable": 0.0}
    assert "length_correlation" not in statistics([[attempt(1.0), attempt(1.0)]])
