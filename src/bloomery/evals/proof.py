"""What counts as proof of not forgetting.

A figure stands only beside (a) the start checkpoint, (b) a domain-only arm that really forgets, since
otherwise there was nothing to keep, and (c) from hot or warm starts a curated-only control with the same
tokens and schedule, because annealing alone lowers the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bloomery.core.intervals import Interval, percentile
from bloomery.evals.bootstrap import DRAWS, enough, resampled_sums
from bloomery.evals.compare import Comparison, compare
from bloomery.evals.results import EvalResult
from bloomery.evals.seeds import Seeded, Seeds, combined, mean_over_seeds, seeds_of
from bloomery.evals.wording import percent

DOMAIN_ONLY, CURATED_ONLY = "domain-only", "curated-only"
FORGETS = 0.05
"""The domain-only arm must raise general bits per byte by this much, or it shows nothing."""

Plasticity = Literal["hot", "warm", "cold"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One trained model beside the result: its change from the start, and what it cost."""

    name: str
    from_start: Comparison
    tokens: int | None = None
    seconds: float | None = None
    seeds: Mapping[str, Seeds] = field(default_factory=dict)
    """Its change of each group under each seed, where there are several."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the proof; `met` None means that it is not asked for here."""

    name: str
    met: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the figures stand, and why."""

    conditions: tuple[Condition, ...]
    gain_kept: Interval | None = None
    """Share of the domain-only arm's domain gain that the result has, at equal domain tokens; the mean over seeds."""
    gain_kept_seeds: Seeds | None = None
    """The same under each seed, where there are several."""

    @property
    def stands(self) -> bool:
        """Whether no condition is unmet."""
        return all(condition.met is not False for condition in self.conditions)


def prove(
    start: EvalResult,
    result: EvalResult,
    arms: Mapping[str, EvalResult],
    plasticity: Plasticity,
    draws: int = DRAWS,
    seeds: Sequence[Seeded] = (),
) -> Proof:
    """Check the three conditions on evaluations of the start, the result and the arms by name.

    `seeds` are the result and its arms under further seeds: what the domain-only arm forgets, and the gain kept
    beside it, are then means over the seeds, each model beside the arm of its own.
    """
    every = [Seeded(result, arms), *seeds]
    beside = [(one.result, one.arms[DOMAIN_ONLY]) for one in every if DOMAIN_ONLY in one.arms]
    conditions = (
        Condition("start checkpoint", True, f"scored in the same run: {start.model}"),
        _really_forgets(start, [alone for _, alone in beside]),
        _control(arms, plasticity),
    )
    kept = [share for model, alone in beside if (share := gain_kept(start, model, alone, draws)) is not None]
    over = seeds_of([share.estimate for share in kept]) if len(kept) > 1 else None
    return Proof(conditions, combined(kept) if kept else None, over)


def _really_forgets(start: EvalResult, arms: Sequence[EvalResult]) -> Condition:
    name = "domain-only arm that forgets"
    if not arms:
        return Condition(
            name, False, "no domain-only arm was trained, so nothing shows that there was anything to forget"
        )
    change = mean_over_seeds([compare(start, arm, draws=1) for arm in arms]).groups.get("general")
    if change is None or change.kind != "bpb":
        return Condition(name, False, "the arm was not scored on general text")
    rise = f"general bits per byte {percent(change.change.estimate, sign=True)} without replay"
    rise += f", the mean over {len(arms)} seeds" if len(arms) > 1 else ""
    if change.change.estimate < FORGETS:
        return Condition(name, False, f"{rise}: less than {percent(FORGETS, 0)}, so keeping it proves little")
    return Condition(name, True, rise)


def _control(arms: Mapping[str, EvalResult], plasticity: Plasticity) -> Condition:
    if CURATED_ONLY in arms:
        return Condition("curated-only control", True, "same start, tokens and schedule, no domain data")
    if plasticity == "cold":
        return Condition("curated-only control", None, "not asked for from a cold start")
    said = f"none, and from a {plasticity} start annealing alone lowers the loss"
    return Condition("curated-only control", False, said)


def gain_kept(
    start: EvalResult, result: EvalResult, alone: EvalResult, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Domain gain of the result over that of the domain-only arm, resampling the same documents for all three."""
    columns = [_column(model, start) for model in (start, result, alone)]
    if len({len(column) for column in columns}) > 1:
        return None
    graded = np.array([row for row in zip(*columns, strict=True) if None not in row], dtype=np.float64)
    if not len(graded):
        return None
    sums = np.vstack([graded.sum(0)[None], resampled_sums(graded, draws, seed)])
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (sums[:, 1] - sums[:, 0]) / (sums[:, 2] - sums[:, 0])
    return enough(percentile(float(shares[0]), shares[1:]), len(graded))


def _column(model: EvalResult, like: EvalResult) -> list[float | None]:
    """Per document of the domain suites: its nats where there are any, else its scores, None where ungraded."""
    suites = [model.suites[n] for n, s in like.suites.items() if s.group == "domain" and n in model.suites]
    bits: list[float | None] = [r.nats for suite in suites if suite.kind == "bpb" for r in suite.records]
    return bits or [r.score for suite in suites for r in suite.records]
