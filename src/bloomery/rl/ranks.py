"""Rollouts by several processes: each makes those of its share of a step's tasks, and all get to know all of them.

A group is made by one process, by weights that are the same everywhere and with seeds that follow from its place in the
step, so how many processes there are changes its answers no more than how prompts fall into batches does. From here on
every process has the whole step: advantages, running means, figures and rows are those of one process, and the training
loop deals the rows as it deals any other's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bloomery.core.errors import BloomeryError, InputError, TrainingError, Where
from bloomery.rl.ahead import Collected, Stopped
from bloomery.rl.between import BetweenSteps, Groups, added
from bloomery.rl.loop import Collector
from bloomery.rl.over import Over
from bloomery.rl.plain import plain, rollout_of
from bloomery.rl.rollouts import Task
from bloomery.rl.weights import Renew, shared

Gather = Callable[[str], Sequence[str]]
"""One text of each process, by rank; all of them call it together."""
ERRORS: dict[str, type[BloomeryError]] = {each.__name__: each for each in (InputError, TrainingError)}


class Maker(Collector, Protocol):
    """A collector that can make a part of a step's rollouts."""

    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> Collected:
        """Rollouts of some of a step's tasks, of which the first is the step's task number `first`."""
        ...

    def seen(self, groups: Groups, step: int) -> dict[str, float]:
        """What follows from all of a step's rollouts."""
        ...


@dataclass(frozen=True, slots=True)
class Across(Over):
    """A collector over one of each process. The first `makers` of them make rollouts; this one is number `rank`.

    `renew` brings what `inner` takes for the weights in training, a whole model of its own, up to date.
    """

    inner: Maker
    renew: Renew
    rank: int
    makers: int
    gather: Gather

    @property
    def between_turns(self) -> bool:
        """Weights come between steps, and steps one by one: all processes gather in the same order."""
        return False

    def publish(self, version: int) -> None:
        """Sample with the weights as they are now, on every process."""
        self.renew(version)
        self.inner.publish(version)

    def collect(self, tasks: Sequence[Task], step: int) -> Collected:
        """The rollouts of all processes, by task. What any of them raises, all do."""
        parts = [json.loads(text) for text in self.gather(json.dumps(self._made(tasks, step)))]
        _raise_again(parts)
        made = [group for part in parts for group in part["groups"]]
        groups = [[rollout_of(one, task) for one in group] for task, group in zip(tasks, made, strict=True)]
        return groups, added(_spent(parts), self.inner.seen(groups, step))

    def _made(self, tasks: Sequence[Task], step: int) -> dict[str, Any]:
        """JSON of what this process makes: its share of the tasks, which stand together."""
        first, end = (len(tasks) * min(rank, self.makers) // self.makers for rank in (self.rank, self.rank + 1))
        try:
            groups, spent = self.inner.attempt(tasks[first:end], step, first)
        except Stopped:
            return {"stopped": True}
        except BloomeryError as error:
            where = str(error.where) if error.where else None
            return {"error": type(error).__name__, "message": error.message, "where": where, "fix": error.fix}
        return {"groups": [[plain(one) for one in group] for group in groups], "spent": spent}


@dataclass(frozen=True, slots=True)
class Whole(Over):
    """A collector of one process that makes all rollouts of a step."""

    def collect(self, tasks: Sequence[Task], step: int) -> Collected:
        """As `inner`."""
        return self.inner.collect(tasks, step)

    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> Collected:
        """All of them."""
        return self.inner.collect(tasks, step)

    def seen(self, groups: Groups, step: int) -> dict[str, float]:
        """Nothing more."""
        return {}


@dataclass(slots=True)
class Elsewhere(BetweenSteps):
    """What stands for a collector where another process makes all rollouts."""

    grader: None = None
    renew: Renew = shared
    version: int = 0

    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> Collected:
        """None."""
        return [], {}

    def close(self) -> None:
        """There is nothing to end."""


def _raise_again(parts: Sequence[Mapping[str, Any]]) -> None:
    """Raise what a process could not make its part for; an error comes before a request to stop."""
    for part in parts:
        if "error" in part:
            where = Where(part["where"]) if part["where"] else None
            raise ERRORS.get(part["error"], BloomeryError)(part["message"], where=where, fix=part["fix"])
    if any("stopped" in part for part in parts):
        raise Stopped


def _spent(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Figures of the whole step: seconds of the slowest process, of all else the mean over rollouts."""
    weights = [sum(map(len, part["groups"])) for part in parts]
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for part in parts for name in part["spent"]):
        values = [part["spent"].get(name, 0.0) for part in parts]
        mean = sum(weight * value for weight, value in zip(weights, values, strict=True)) / max(sum(weights), 1)
        found[name] = max(values) if name.endswith("_s") else mean
    return found
