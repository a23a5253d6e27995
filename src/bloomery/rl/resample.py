"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2), with an end: where all rewards of a group are the same, a new
task is attempted in its place, a few times a step.

The blend's position stays what it is: new tasks come from a stream of their own, which the seed, the step and the round
determine. Groups without any difference stay in the log and in the figures; they only teach nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bloomery.rl.advantages import fewest, is_level
from bloomery.rl.between import of_both
from bloomery.rl.loop import Groups
from bloomery.rl.over import Over
from bloomery.rl.rollouts import Rollout, Task, rewards

Fresh = Callable[[int, int, int], list[Task]]
"""(step, round from 1, how many) -> tasks; fewer where there are no more."""


@dataclass(frozen=True, slots=True)
class Resampling(Over):
    """Collects by `inner`, and `times` again for groups that came out level."""

    fresh: Fresh
    times: int

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[Groups, dict[str, float]]:
        """Rollouts of the tasks and of those that took a place; figures are those of all rounds."""
        last, spent = self.inner.collect(tasks, step)
        groups = [*last]
        for again in range(1, self.times + 1):
            level = sum(map(without_difference, last))
            wanted = self.fresh(step, again, level) if level else []
            if not wanted:
                break
            last, also = self.inner.collect(wanted, step)
            spent = of_both(spent, len(groups), also, len(last))
            groups += last
        return groups, spent | {"resampled_groups": float(len(groups) - len(tasks))}


def without_difference(group: Sequence[Rollout]) -> bool:
    """Whether enough of a group was scored, and all the same. One that could not be scored is no reason to go on."""
    found = rewards([group])[0]
    scored = found[np.isfinite(found)]
    return len(scored) >= fewest(len(found)) and is_level(scored)
