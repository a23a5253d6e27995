"""The course of a training by rewards, read back from its event log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.events import read_events
from bloomery.evals.curve import number

Points = Sequence[tuple[int, float]]

SPENT = {
    "sampling": "sampling_s", "environments": "environment_s", "grading": "grading_s",
    "waiting for orchestrators": "collecting_s", "held-out tasks": "held_s",
}  # fmt: skip
"""What seconds are spent on beside training, and the figure that tells it."""
FROM_STEP = ("policy_entropy", "policy_drift", "loss_kl", "seconds")
"""What the step's own event tells; the rest comes with its rollouts."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """Figures by name, each as (step, value) in order; what the start could do; the alarms that were given."""

    figures: Mapping[str, Points]
    base: str = ""
    alarms: tuple[tuple[int, str], ...] = ()

    def of(self, name: str) -> Points:
        """The points of a figure, none where it was never told."""
        return self.figures.get(name, ())

    @property
    def components(self) -> list[str]:
        """Names of the reward's parts."""
        return sorted(name.removeprefix("reward/") for name in self.figures if name.startswith("reward/"))

    def seconds(self) -> dict[str, float]:
        """How long the run did what: `SPENT`, and training, which is the rest."""
        spent = {said: sum(value for _, value in self.of(name)) for said, name in SPENT.items()}
        whole = sum(value for _, value in self.of("seconds"))
        return {name: value for name, value in spent.items() if value} | {
            "training": max(0.0, whole - sum(spent.values()))
        }

    @property
    def said(self) -> str:
        """From the first to the last tenth of the steps, and where the time went."""
        reward = [value for _, value in self.of("reward")]
        few = max(1, len(reward) // 10)
        first, last = sum(reward[:few]) / few, sum(reward[-few:]) / few
        moved = f"Mean reward {first:.3g} in the first {few} step{'' if few == 1 else 's'}, {last:.3g} in the last."
        took = self.seconds()
        whole = sum(took.values())
        shares = ", ".join(f"{name} {value / whole:.0%}" for name, value in took.items()) if whole else ""
        return f"{moved} Time: {shares}." if shares else moved


def read_rolled(events: Path) -> Rolled | None:
    """What an event log tells of rollouts, where a resumed run's last word on a step wins; None without any."""
    steps: dict[int, dict[str, float]] = {}
    base, alarms = "", {}
    for event in read_events(events):
        kind = event["event"]
        if kind == "rollouts":
            steps[int(event["step"])] = _numbers(event)
        elif kind == "step" and int(event["step"]) - 1 in steps:
            told = _numbers(event)
            steps[int(event["step"]) - 1] |= {name: told[name] for name in FROM_STEP if name in told}
        elif kind == "base":
            base = str(event.get("said", ""))
        elif kind == "alarm":
            alarms[int(event["step"]), str(event.get("name"))] = str(event.get("said", ""))
    names = dict.fromkeys(name for figures in steps.values() for name in figures)
    if "reward" not in names:
        return None
    found = {name: [(step, steps[step][name]) for step in sorted(steps) if name in steps[step]] for name in names}
    return Rolled(found, base, tuple((step, said) for (step, _), said in sorted(alarms.items())))


def _numbers(event: Mapping[str, Any]) -> dict[str, float]:
    found = {name: number(value) for name, value in event.items() if name not in ("time", "step")}
    return {name: value for name, value in found.items() if value is not None}
