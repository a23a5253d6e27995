"""What collectors in this process share: new weights come between steps, and a grader may wait for its server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from bloomery.graders.payload import Grader
from bloomery.rl.outage import heed
from bloomery.rl.rollouts import Rollout, Task

Groups = list[list[Rollout]]
SHARE = "stopped/"
"""How the names of figures begin that are shares of the rollouts: they are averaged where others are summed."""


class BetweenSteps:
    """The part of a collector that is the same however it samples.

    `renew` renews the engine's weights, where they are not those in training themselves.
    """

    grader: Grader | None
    renew: Callable[[int], None]
    version: int
    between_turns: ClassVar[bool] = False

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[Groups, dict[str, float]]:
        """`group` rollouts of each task, and the seconds that they took, by what took them."""
        groups, spent = self.attempt(tasks, step)
        return groups, added(spent, self.seen(groups, step))

    @abstractmethod
    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> tuple[Groups, dict[str, float]]:
        """`collect` for some of a step's tasks, of which the first is the step's task number `first`."""

    def seen(self, groups: Groups, step: int) -> dict[str, float]:
        """What follows from all the rollouts of a step, whoever made them."""
        return {}

    def publish(self, version: int) -> None:
        """Sample with the weights as they are now."""
        self.renew(version)
        self.version = version

    def restart(self, step: int) -> None:
        """Nothing is kept between steps."""
        heed(self.grader, stopping=False)

    def stop(self) -> None:
        """A step comes to its end by itself, unless a grader waits for its server."""
        heed(self.grader, stopping=True)


def added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """The figures of both; what has the same name is summed."""
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def of_both(one: Mapping[str, float], groups: int, other: Mapping[str, float], more: int) -> dict[str, float]:
    """The figures of `groups` groups and of `more` others: shares are of all their rollouts, all else is summed."""
    found = added(one, other)
    shares = [name for name in found if name.startswith(SHARE)]
    weighed = {name: one.get(name, 0.0) * groups + other.get(name, 0.0) * more for name in shares}
    return found | {name: value / (groups + more) for name, value in weighed.items()}
