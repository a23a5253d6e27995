"""Rollouts of one answer each, in this process: sampled by the engine over the weights in training, then graded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.evals.prompts import messages_of
from bloomery.evals.rows import reference_of
from bloomery.graders.payload import Grader, Sample, Score
from bloomery.rl.between import BetweenSteps, Groups
from bloomery.rl.config import RolloutSettings
from bloomery.rl.drift import Drift
from bloomery.rl.rollouts import Rollout, Task, too_long
from bloomery.rl.turns import Tree, Turn

ROUND = 982_451_653
"""Between the seeds of a step's rounds: a prime far above the steps of any run."""


class Sampler(Protocol):
    """What of an engine rollouts need."""

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order."""
        ...


@dataclass(slots=True)
class Inside(BetweenSteps):
    """Answers and grades. The same weights, step and seed give the same rollouts, bit for bit."""

    engine: Sampler
    grader: Grader
    settings: RolloutSettings
    decode: Callable[[Sequence[int]], str]
    drift: Drift | None = None
    renew: Callable[[int], None] = lambda version: None
    end: Callable[[], None] = lambda: None
    version: int = 0

    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> tuple[Groups, dict[str, float]]:
        """`group` rollouts of each task, and the seconds that sampling and grading took."""
        began = time.perf_counter()
        groups = self._sampled(tasks, step, first)
        sampled = time.perf_counter()
        graded = self._graded(groups, step)
        return graded, {"sampling_s": sampled - began, "grading_s": time.perf_counter() - sampled}

    def seen(self, groups: Groups, step: int) -> dict[str, float]:
        """What a judge's drift is, and the seconds that it took to ask for it."""
        flat = [one for group in groups for one in group]
        if self.drift is None or not flat:
            return {}
        began = time.perf_counter()
        told = self.drift.see([sample_of(one, step) for one in flat], [one.reward for one in flat], step)
        return told | {"grading_s": time.perf_counter() - began}

    def close(self) -> None:
        """End the engine, where it is one of processes."""
        self.end()

    def _sampled(self, tasks: Sequence[Task], step: int, first: int) -> Groups:
        size, settings = self.settings.group, self.settings
        prompts = [task.prompt.tolist() for task in tasks for _ in range(size)]
        again = tasks[0].again if tasks else 0
        seed = settings.seed * 1_000_003 + step + again * ROUND
        sampling = Sampling(settings.max_tokens, temperature=settings.temperature, seed=seed)
        requests = [Request(prompt, sampling, number=number) for number, prompt in enumerate(prompts, first * size)]
        answers = iter(self.engine.answer(requests) if requests else [])
        return [[self._rollout(task, number, next(answers)) for number in range(size)] for task in tasks]

    def _rollout(self, task: Task, number: int, answer: Completion) -> Rollout:
        reply = {"role": "assistant", "content": self.decode(answer.body)}
        asked, prompt = tuple(messages_of(task.row)), tuple(task.prompt.tolist())
        finish = answer.finish_reason
        turn = Turn(
            0, None, "clean", asked, "", prompt, tuple(answer.ids), answer.logprobs, self.version, finish, reply
        )
        dropped = "cut off" if finish != "stop" and self.settings.overlong == "drop" else ""
        tree = Tree([turn])
        return Rollout(task, number, tree, finish == "stop", why=dropped, penalty=too_long(tree, self.settings))

    def _graded(self, groups: Groups, step: int) -> Groups:
        """The same with their rewards; a grader that fails leaves None."""
        samples = [sample_of(one, step) for group in groups for one in group]
        scores = iter(self.grader.grade(samples) if samples else [])
        return [[_scored(one, next(scores)) for one in group] for group in groups]


def _scored(rollout: Rollout, score: Score) -> Rollout:
    parts = {metric.name: metric.value for metric in score.metrics_list}
    return replace(rollout, reward=score.aggregate_reward_score, reason=score.reason, components=parts)


def sample_of(rollout: Rollout, step: int) -> Sample:
    """A rollout as graders take it. Its id is its own: the same on every try, another for another rollout."""
    row = rollout.task.row
    messages = [*messages_of(row), {"role": "assistant", "content": rollout.text}]
    name = f"{rollout.task.group}:{step}:{rollout.number}"
    return Sample(name, messages, reference_of(row), row.get("metadata") or {})
