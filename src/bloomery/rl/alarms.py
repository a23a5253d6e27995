"""Rewards that teach nothing, or something else than was meant, found while the run goes on.

Each alarm looks at the figures of the last steps and says what is wrong and what to do about it, or nothing. None of
them changes the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Figures = Mapping[str, float]
Alarm = Callable[[Sequence[Figures]], str | None]

WINDOW = 10
"""Steps that are looked at together; before there are as many, nothing is said."""
LEVEL, SATURATED, LENGTH, UNSCORABLE, DRIFT = 0.8, 0.95, 0.5, 0.1, 0.1
"""Shares of groups without difference (trl#3452 and others: read as a bug), of the highest reward, the correlation, the
share without a score, and the change of a judge's mean score from which on an alarm is given."""


def level(window: Sequence[Figures]) -> str | None:
    """Most groups have rewards that are all the same."""
    share = _mean(window, "level_groups")
    if share is None or share <= LEVEL:
        return None
    reward = _mean(window, "reward") or 0.0
    fix = "give partial credit, easier tasks, a larger `rollouts.group`, or set `rollouts.resample`"
    return f"{share:.0%} of the groups have rewards that are all the same (mean {reward:.3g}) and teach nothing: {fix}"


def dead_component(window: Sequence[Figures]) -> str | None:
    """A part of the reward is the same for every answer."""
    names = {key.removeprefix("spread/") for one in window for key in one if key.startswith("spread/")}
    dead = []
    for name in sorted(names):
        spread = [one.get(f"spread/{name}", 0.0) for one in window]
        means = [one[f"reward/{name}"] for one in window if f"reward/{name}" in one]
        if max(spread) < 1e-12 and max(means) - min(means) < 1e-12:
            dead.append(f"`{name}` ({means[0]:.3g})")
    if not dead:
        return None
    return f"part of the reward that is the same for every answer: {', '.join(dead)}; repair or remove it"


def saturated(window: Sequence[Figures]) -> str | None:
    """Nearly every answer gets the highest reward."""
    reward, low, high = _mean(window, "reward"), _least(window, "reward_low"), _most(window, "reward_high")
    if reward is None or low is None or high is None or high - low < 1e-12:
        return None
    place = (reward - low) / (high - low)
    if place < SATURATED:
        return None
    return (
        f"the mean reward is at {place:.0%} of what was ever given: little is left to learn; take harder tasks or stop"
    )


def follows_length(window: Sequence[Figures]) -> str | None:
    """Rewards go with the length of answers."""
    found = _mean(window, "length_correlation")
    if found is None or abs(found) <= LENGTH:
        return None
    which = "longer" if found > 0 else "shorter"
    look = "look at some with `bloomery rl show RUN --sort reward`"
    return f"{which} answers to a task get higher rewards (r = {found:+.2f}): is that what is meant? {look}"


def unscored(window: Sequence[Figures]) -> str | None:
    """Many answers could not be scored."""
    rollouts, without = _mean(window, "rollouts"), _mean(window, "unscorable")
    if not rollouts or without is None or without / rollouts <= UNSCORABLE:
        return None
    look = "`bloomery rl show RUN` says why"
    return f"{without / rollouts:.0%} of the answers have no score and are trained nowhere: {look}"


def drifting_judge(window: Sequence[Figures]) -> str | None:
    """The judge scores the same answers otherwise than at the start."""
    seen = [one["judge_drift"] for one in window if "judge_drift" in one]
    if not seen or abs(seen[-1]) <= DRIFT:
        return None
    return f"the judge gives the same answers {seen[-1]:+.2f} more than at the start: rewards cannot be compared"


def held_back(window: Sequence[Figures]) -> str | None:
    """Rewards have been waiting all the time, and the policy does not come back."""
    if min(_told(window, "rewards_wait"), default=0.0) < 1:
        return None
    far = _mean(window, "kl_start") or 0.0
    fix = "lower the rate or `rollouts.replay_weight`, or raise `rollouts.kl_cap`"
    return f"the KL to the start stays over its cap ({far:.3g}) though rewards wait: curated rows keep it there; {fix}"


ALARMS: dict[str, Alarm] = {
    "level groups": level,
    "dead component": dead_component,
    "saturated": saturated,
    "follows length": follows_length,
    "unscored": unscored,
    "drifting judge": drifting_judge,
    "held back": held_back,
}
"""Name -> what it says of the last `WINDOW` steps' figures; None where all is well."""


@dataclass(slots=True)
class Watch:
    """Sees every step; gives each alarm once, and again only after it had ended."""

    window: deque[Figures] = field(default_factory=lambda: deque(maxlen=WINDOW))
    given: set[str] = field(default_factory=set)

    def see(self, figures: Figures) -> dict[str, str]:
        """Alarms that begin with this step, by name."""
        self.window.append(figures)
        if len(self.window) < WINDOW:
            return {}
        seen = [*self.window]
        now = {name: said for name, alarm in ALARMS.items() if (said := alarm(seen)) is not None}
        new = {name: said for name, said in now.items() if name not in self.given}
        self.given = set(now)
        return new


def _told(window: Sequence[Figures], name: str) -> list[float]:
    return [one[name] for one in window if name in one]


def _mean(window: Sequence[Figures], name: str) -> float | None:
    told = _told(window, name)
    return float(np.mean(told)) if told else None


def _least(window: Sequence[Figures], name: str) -> float | None:
    return min(_told(window, name), default=None)


def _most(window: Sequence[Figures], name: str) -> float | None:
    return max(_told(window, name), default=None)
