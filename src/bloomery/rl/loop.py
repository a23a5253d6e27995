"""The rollout loop, a source of steps for `train/loop.py`: read this top to bottom.

    rows of the blend -> those of tasks are answered, G times each -> graded -> advantages -> token rows -> a step

Checkpoints, schedule, forgetting budget and progress are the training loop's, as for every other source: the blend says
which tasks a step has and which curated rows stand beside them, and a run goes on where its blend does. Sampling and
training alternate in one process over the same weights (`max_staleness` 0), so that a run can be repeated bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from bloomery.core.rows import TokenRow
from bloomery.engine.protocol import Engine, Sampling
from bloomery.evals.prompts import messages_of
from bloomery.evals.rows import reference_of
from bloomery.graders.payload import Grader, Sample
from bloomery.rl.advantages import Judged, Running, judge
from bloomery.rl.config import RolloutSettings
from bloomery.rl.log import RolloutLog
from bloomery.rl.rollouts import TRAINED, Rollout, Task, token_rows, with_advantages
from bloomery.train.job import RowSource, StepRows

Groups = list[list[Rollout]]
RUNNING = "rewards"
"""Where the state of a source keeps the running mean of rewards."""


class Tasks(Protocol):
    """The tasks behind rows of the blend."""

    @property
    def sources(self) -> frozenset[str]:
        """Names of the sources whose rows are tasks."""
        ...

    def of(self, row: TokenRow) -> Task:
        """The task that a row stands for."""
        ...


@dataclass(slots=True)
class RolloutSource:
    """Steps of rollouts and curated rows. `engine` is given when the weights are in place (`begin`)."""

    drawn: RowSource
    tasks: Tasks
    grader: Grader
    settings: RolloutSettings
    decode: Callable[[Sequence[int]], str]
    log: RolloutLog
    running: Running = field(default_factory=Running)
    engine: Engine | None = None
    told: Callable[[int, dict[str, float]], None] = field(default=lambda step, figures: None)

    def begin(self, engine: Engine) -> None:
        """Take the engine that samples with the weights in training."""
        self.engine = engine

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step whose state this was: what it sampled is neither sampled nor trained again."""
        self.running = Running(state.get(RUNNING))
        self.drawn.restore(state)

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        """Steps `first <= step < last` in order. A step in which nothing can be learned has its curated rows alone."""
        for drawn in self.drawn.steps(first, last):
            tasks = [self.tasks.of(row) for row in drawn.rows if row.source in self.tasks.sources]
            replay = [row for row in drawn.rows if row.source not in self.tasks.sources]
            began = time.perf_counter()
            sampled = self._sample(tasks, drawn.step)
            after_sampling = time.perf_counter()
            graded = self._graded(sampled)
            judged = self._judged(graded)
            self.running = judged.running
            groups = with_advantages(graded, judged)
            seconds = {"sampling_s": after_sampling - began, "grading_s": time.perf_counter() - after_sampling}
            self.log.write(drawn.step, groups)
            self.told(drawn.step, figures(groups, judged) | seconds)
            rows = token_rows([one for group in groups for one in group], self.settings.norm)
            state = drawn.state | {RUNNING: self.running.value}
            yield StepRows(drawn.step, [*rows, *replay], drawn.waited, state)

    def _sample(self, tasks: Sequence[Task], step: int) -> Groups:
        """`group` answers to each task."""
        assert self.engine is not None  # `begin` comes before the first step
        size, settings = self.settings.group, self.settings
        prompts = [task.prompt.tolist() for task in tasks for _ in range(size)]
        sampling = Sampling(settings.max_tokens, temperature=1.0, seed=settings.seed * 1_000_003 + step)
        answers = iter(self.engine.generate(prompts, sampling)) if prompts else iter(())
        return [[self._rollout(task, number, next(answers), step) for number in range(size)] for task in tasks]

    def _rollout(self, task: Task, number: int, answer: Any, step: int) -> Rollout:
        ids, finished = np.array(answer.ids, np.int32), answer.finish_reason == "stop"
        dropped = "cut off" if not finished and self.settings.overlong == "drop" else ""
        return Rollout(
            task, number, ids, answer.logprobs, self.decode(answer.body), finished, version=step, why=dropped
        )

    def _graded(self, groups: Groups) -> Groups:
        """The same with their scores; a grader that fails leaves None."""
        flat = [one for group in groups for one in group]
        scores = iter(self.grader.grade([sample_of(one) for one in flat]) if flat else ())
        return [[replace(one, score=next(scores)) for one in group] for group in groups]

    def _judged(self, groups: Groups) -> Judged:
        rewards = [np.array([_number(one) for one in group], np.float64) for group in groups]
        return judge(rewards, self.settings.advantage, self.running)


def sample_of(rollout: Rollout) -> Sample:
    """A rollout as graders take it. Its id is its own: the same on every try, another for another rollout."""
    row = rollout.task.row
    messages = [*messages_of(row), {"role": "assistant", "content": rollout.text}]
    name = f"{rollout.task.group}:{rollout.version}:{rollout.number}"
    return Sample(name, messages, reference_of(row), row.get("metadata") or {})


def _number(rollout: Rollout) -> float:
    """The reward; NaN where there is none, or where the rollout counts nowhere."""
    return float("nan") if rollout.reward is None or rollout.why else rollout.reward


def figures(groups: Sequence[Sequence[Rollout]], judged: Judged) -> dict[str, float]:
    """What a step's rollouts tell: mean reward, its spread, lengths, and what was left out of how many."""
    flat = [one for group in groups for one in group]
    if not flat:
        return {"rollouts": 0.0}
    scored = np.array([one.reward for one in flat if one.reward is not None], np.float64)
    lengths = np.array([len(one.ids) for one in flat], np.float64)
    found = {
        "rollouts": float(len(flat)),
        "trained_rollouts": float(sum(one.why == TRAINED for one in flat)),
        "unscorable": float(len(flat) - len(scored)),
        "level_groups": judged.level / len(groups),
        "dropped_groups": judged.dropped / len(groups),
        "length": float(lengths.mean()),
        "cut_off": float(np.mean([not one.finished for one in flat])),
    }
    if len(scored):
        found |= {"reward": float(scored.mean()), "reward_std": float(scored.std())}
        best = [max((one.reward for one in group if one.reward is not None), default=None) for group in groups]
        found["reward_best"] = float(np.mean([one for one in best if one is not None]))
    return found
