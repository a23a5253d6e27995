"""The rollout loop, a source of steps for `train/loop.py`: read this top to bottom.

    rows of the blend -> those of tasks are attempted, G times each, and rewarded -> advantages -> token rows -> a step

Checkpoints, schedule, forgetting budget and progress are the training loop's, as for every other source: the blend says
which tasks a step has and which curated rows stand beside them, and a run goes on where its blend does. Where the
rollouts come from is a collector's affair: this process (`inside.py`), or orchestrators anywhere (`outside.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bloomery.core.rows import TokenRow
from bloomery.rl.advantages import Judged, Running, judge
from bloomery.rl.ahead import Ahead, Stopped
from bloomery.rl.config import RolloutSettings
from bloomery.rl.log import RolloutLog
from bloomery.rl.pull import Pull
from bloomery.rl.rollouts import Rollout, Task, back_to_start, rewards, token_rows, with_advantages
from bloomery.rl.statistics import staleness, statistics
from bloomery.train.job import RowSource, StepRows

Groups = list[list[Rollout]]
RUNNING = "rewards"
"""Where the state of a source keeps the running mean of rewards."""
WAITS = "rewards_wait"
"""Where it keeps whether rewards wait for the policy to come back to its start."""


class Tasks(Protocol):
    """The tasks behind rows of the blend."""

    @property
    def sources(self) -> frozenset[str]:
        """Names of the sources whose rows are tasks."""
        ...

    def of(self, row: TokenRow) -> Task:
        """The task that a row stands for."""
        ...


class Collector(Protocol):
    """Where rollouts come from."""

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[Groups, dict[str, float]]:
        """Rollouts of each task with their rewards, None where there is none, and figures such as seconds spent."""
        ...

    @property
    def between_turns(self) -> bool:
        """Whether new weights may come between two turns of a rollout; otherwise they come between steps."""
        ...

    def publish(self, version: int) -> None:
        """Sample with the weights as they are now, and call them `version`, the step that they train next."""
        ...

    def restart(self, step: int) -> None:
        """Called before the first step, which is `step`: what was collected for it and later ones is not used yet."""
        ...

    def stop(self) -> None:
        """Called from another thread, or by a signal: a `collect` that waits for others raises `Stopped`."""
        ...

    def close(self) -> None:
        """Called when training has ended."""
        ...


@dataclass(slots=True)
class RolloutSource:
    """Steps of rollouts and curated rows. `collector` is there when the weights are (`begin`)."""

    drawn: RowSource
    tasks: Tasks
    settings: RolloutSettings
    log: RolloutLog | None
    """None where another process writes it."""
    running: Running = field(default_factory=Running)
    collector: Collector | None = None
    pull: Pull | None = None
    told: Callable[[int, dict[str, float]], None] = field(default=lambda step, figures: None)

    def begin(self, collector: Collector) -> None:
        """Take what collects rollouts with the weights in training."""
        self.collector = collector

    def stop(self) -> None:
        """The run is asked to stop: no step waits any longer for what others do."""
        if self.collector is not None:
            self.collector.stop()

    def close(self) -> None:
        """End what collects."""
        if self.collector is not None:
            self.collector.close()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step whose state this was: what it sampled is neither sampled nor trained again."""
        self.running = Running(state.get(RUNNING))
        if self.pull is not None:
            self.pull.waits = bool(state.get(WAITS))
        self.drawn.restore(state)

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        """Steps `first <= step < last` in order. A step in which nothing can be learned has its curated rows alone.

        They end early where the run is asked to stop while a step waits for rollouts that others make.
        """
        with contextlib.suppress(Stopped):
            yield from self._steps(first, last)

    def _steps(self, first: int, last: int) -> Iterator[StepRows]:
        assert self.collector is not None  # `begin` comes before the first step
        self.collector.restart(first)
        with Ahead(self.collector, self.settings.staleness) as ahead:
            ahead.publish(first)
            for drawn, (collected, spent) in ahead.collected(self._with_tasks(first, last)):
                judged = judge(rewards(collected), self.settings.advantage, self.running)
                self.running = judged.running
                groups = with_advantages(collected, judged)
                rows = token_rows([one for group in groups for one in group], self.settings.norm)
                rows, pulled = self.pull(rows, groups, drawn.step) if self.pull else (rows, {})
                groups = back_to_start(groups) if self.pull and self.pull.waits else groups
                if self.log is not None:
                    self.log.write(drawn.step, groups)
                self.told(drawn.step, figures(groups, judged) | staleness(groups, drawn.step) | spent | pulled)
                replay = [row for row in drawn.rows if row.source not in self.tasks.sources]
                state = drawn.state | {RUNNING: self.running.value} | ({WAITS: self.pull.waits} if self.pull else {})
                coefficient = self.pull.coefficient if self.pull else {}
                yield StepRows(drawn.step, [*rows, *replay], drawn.waited, state, coefficient)
                ahead.publish(drawn.step + 1)

    def _with_tasks(self, first: int, last: int) -> Iterator[tuple[StepRows, list[Task]]]:
        """The blend's steps with the tasks among their rows."""
        for drawn in self.drawn.steps(first, last):
            yield drawn, [self.tasks.of(row) for row in drawn.rows if row.source in self.tasks.sources]


def figures(groups: Sequence[Sequence[Rollout]], judged: Judged) -> dict[str, float]:
    """What a step's rollouts tell, and the shares of groups that teach nothing."""
    shares = (
        {"level_groups": judged.level / len(groups), "dropped_groups": judged.dropped / len(groups)} if groups else {}
    )
    return statistics(groups) | shares
