"""Held-out tasks played in their environment by a model that is measured, as the rollouts of its training were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from bloomery.recipes.attempts import drawn
from bloomery.recipes.plan import Plan
from bloomery.recipes.rewarding import checked_reward
from bloomery.rl.config import RolloutSettings

if TYPE_CHECKING:
    from bloomery.evals.played import Attempt, Play
    from bloomery.evals.suites import Row, Suite
    from bloomery.models.load import Loaded
    from bloomery.rl.rollouts import Rollout, Task
    from bloomery.rl.turns import Tree

AT_ONCE = 64
"""Rollouts that are under way at once, unless the environment's `at_once` says fewer."""
OUTAGE = 1800.0
"""Seconds that a grader may wait for its server."""


def played_suite(plan: Plan, name: str, path: Path) -> list[Suite]:
    """What plays held-out rows of a training in an environment: as it was trained, and rewarded by the same; none
    where the reward is judged, or a server's, and no `eval.grader` stands in for it."""
    from bloomery.evals.suites import Suite

    told = plan.section("rollouts")
    grader = plan.get("eval.grader") or checked_reward(told["reward"])
    if told["reward"] and not grader:
        return []
    rows, how = drawn(plan, path)
    return [Suite(f"{name} played", "environment", rows, "domain", grader, **how, environment=told["environment"])]


def player(loaded: Loaded, say: Callable[[str], None]) -> Play:
    """Who plays with the weights of `loaded`; `say` tells a person what takes long."""

    def play(suite: Suite, rows: Sequence[Row], seed: int) -> list[list[Attempt]]:
        counts = suite.answers(len(rows))
        tasks = [_task(suite, number, row) for number, row in enumerate(rows)]
        parts = {
            count: iter(_attempts(loaded, say, suite, own, RolloutSettings(count, seed=seed)))
            for count in sorted(set(counts))
            if (own := [task for task, each in zip(tasks, counts, strict=True) if each == count])
        }
        return [next(parts[count]) for count in counts]

    return play


def _attempts(
    loaded: Loaded, say: Callable[[str], None], suite: Suite, tasks: Sequence[Task], settings: RolloutSettings
) -> list[list[Attempt]]:
    """`settings.group` attempts at each task."""
    from bloomery.recipes.collecting import collecting

    settings = replace(settings, max_tokens=suite.max_new_tokens, temperature=suite.temperature)
    told = {
        "orchestrators": None,
        "environment": suite.environment,
        "reward": suite.grader,
        "workers": 0,
        "engine": "native",
    }
    found: list[list[Attempt]] = []
    with TemporaryDirectory(prefix="bloomery-") as folder:  # of the journal, where rollouts drive themselves
        collector = collecting(told | {"outage": OUTAGE, "rescore": 0}, settings, loaded, Path(folder), say)
        try:
            collector.restart(0)
            size = max(1, AT_ONCE // settings.group)
            for step, at in enumerate(range(0, len(tasks), size)):
                groups, _ = collector.collect(tasks[at : at + size], step)
                found += [[_attempt(one) for one in group] for group in groups]
        finally:
            collector.close()
    return found


def _task(suite: Suite, number: int, row: Row) -> Task:
    """A row as a task, whose prompt is made of what its environment shows first."""
    from bloomery.rl.rollouts import Task

    return Task(suite.name, f"{suite.name}:{number}", row, np.zeros(0, np.int32))


def _attempt(one: Rollout) -> Attempt:
    from bloomery.evals.played import Attempt

    return Attempt(one.reward, one.reason, len(one.tree.turns), one.tree.sampled_tokens, _said(one.tree))


def _said(tree: Tree) -> str:
    """The conversation of the last turn, after the task's own messages; of a single answer its text alone."""
    line = tree.line(len(tree.turns) - 1) if tree.turns else []
    told = [message for at, turn in enumerate(line) for message in (*(turn.added if at else ()), turn.reply)]
    if len(told) == 1 and "tool_calls" not in told[0]:
        return str(told[0].get("content") or "")
    return "\n".join(_spoken(message) for message in told)


def _spoken(message: Any) -> str:
    calls = [f"{one['function']['name']}({one['function']['arguments']})" for one in message.get("tool_calls") or ()]
    return f"{message['role']}: " + " ".join(filter(None, [str(message.get("content") or ""), *calls]))
