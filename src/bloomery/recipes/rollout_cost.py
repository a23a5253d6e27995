"""What the rollouts of a training by rewards cost: how many tokens they sample, and how long that takes.

Both are measured where they can be: by a run from this start on such a machine, before its first step (`going.py`).
Else answers are taken to be as long as those that the rows end with, or, without any or over several turns, as they
may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery.recipes.checks import tokens_by_source
from bloomery.recipes.counts import known_rollouts
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan
from bloomery.recipes.rewarding import is_remote
from bloomery.recipes.rollouts import RL
from bloomery.recipes.sample import Sample, measured

SAMPLED = 5
"""Forward passes that sampling a token is worth, beside three of training it (ember, 1,000 tokens a step)."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What is sampled in all steps of an arm: `count` rollouts of `tokens` each; `source` says how that is known.

    `seconds` is what sampling and grading one took, None where that was not measured, or only computing takes time.
    """

    count: float
    tokens: float
    source: str
    seconds: float | None = None

    @property
    def said(self) -> str:
        """For a person."""
        return f"a rollout is taken to have {self.tokens:,.0f} sampled tokens, {self.source}"


def rollouts(plan: Plan, samples: Mapping[str, Sample], machine: Machine, cache: Path) -> list[Rollouts]:
    """The rollouts of each arm; none for another objective."""
    if plan.get("objective") != RL:
        return []
    place = plan.get("start.tokenizer")
    looked = measured(samples, Path(place) if place else None)
    if known := known_rollouts(plan, machine.name, cache):
        tokens, source = known[0], "as the start gave in the last run"
        seconds = known[1] if _waits(plan) else None  # of computing, a busy machine would tell too much
    else:
        (tokens, source), seconds = _guessed(plan, looked), None
    each = plan.get("rollouts.group")
    return [Rollouts(each * _tasks(plan, looked, arm.name), tokens, source, seconds) for arm in plan.arms]


def seconds_of(one: Rollouts, weights: float, attention: float, plan: Plan, machine: Machine) -> float:
    """Of sampling and training them: training costs `weights` FLOP a token, and `attention` for each token that it
    looks back on, which is its own prompt and answers alone."""
    each = weights + attention * (plan.get("document_tokens") + one.tokens)
    training: float = one.count * one.tokens * each / machine.flops
    return training * (1 + SAMPLED / 3) if one.seconds is None else training + one.count * one.seconds


def _waits(plan: Plan) -> bool:
    """Whether rollouts take the time of others: environments over several turns, servers that grade."""
    reward = plan.get("rollouts.reward")
    return bool(plan.get("rollouts.environment")) or (reward is not None and is_remote(reward))


def _guessed(plan: Plan, samples: Mapping[str, Sample]) -> tuple[float, str]:
    """(tokens sampled in a rollout, how that is known) before any run has told."""
    most, turns = plan.get("rollouts.max_tokens"), (plan.get("rollouts.environment") or {"turns": 1})["turns"]
    answered = [one for one in samples.values() if one.answer]
    rows = sum(one.rows for one in answered)
    if turns > 1 or not rows:
        return float(most * turns), "as many as it may: a run measures it"
    mean = sum(one.rows * one.answer for one in answered) / rows + 1  # the end token
    return min(mean, most), "as the rows' own answers have: a run measures it"


def _tasks(plan: Plan, samples: Mapping[str, Sample], arm: str) -> float:
    """Tasks in all steps of an arm: the tokens that it takes of each domain source, over those of a row."""
    known, used = plan.get("source_tokens"), tokens_by_source(plan, arm)
    found = 0.0
    for name in (source.name for source in plan.sources if source.role == "domain"):
        sample = samples.get(name)
        row = known[name] / sample.rows if sample and sample.rows and known.get(name) else plan.get("document_tokens")
        found += used[name] / row
    return found
