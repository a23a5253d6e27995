"""The `keep` gate: is the forgetting within its budget, beyond it, or not proven either way?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bloomery.core.errors import InputError, nearest
from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import FEWEST
from bloomery.evals.compare import Comparison

Status = Literal["within", "broken", "unproven"]

EXIT_STATUS: dict[str, int] = {"within": 0, "broken": 3, "unproven": 4}
KEPT = ("general", "skills", "instruction", "refusal", "over_refusal")
"""What a budget may be stated for: bits per byte by relative rise, scores by points lost."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One budget and what became of it; `worse` is the change turned so that more is worse."""

    name: str
    against: str
    budget: float
    worse: Interval
    status: Status
    documents: int
    needed: int | None = None
    """Documents after which the interval should clear the budget, if the estimate stays; None when it already does."""


@dataclass(frozen=True, slots=True)
class Gate:
    """All budgets together; without any, `status` is "within" and nothing was promised."""

    status: Status
    verdicts: tuple[Verdict, ...]

    @property
    def exit_status(self) -> int:
        """0 within, 3 broken, 4 unproven."""
        return EXIT_STATUS[self.status]


def judge(name: str, worse: Interval, budget: float, documents: int, against: str = "start") -> Verdict:
    """`within` when even the upper bound keeps the budget, `broken` when even the lower bound is beyond it.

    An interval narrows with the root of the number of documents, so clearing the distance between
    estimate and budget needs documents × (half width ÷ distance)². Fewer than `FEWEST` documents settle nothing.
    """
    if documents < FEWEST or not all(map(math.isfinite, (worse.estimate, worse.low, worse.high))):
        return Verdict(name, against, budget, worse, "unproven", documents)
    if worse.high <= budget:
        return Verdict(name, against, budget, worse, "within", documents)
    if worse.low > budget:
        return Verdict(name, against, budget, worse, "broken", documents)
    distance = abs(budget - worse.estimate)
    half = worse.high - worse.estimate if worse.estimate <= budget else worse.estimate - worse.low
    needed = math.ceil(documents * (half / distance) ** 2) if distance > 0 else None
    return Verdict(name, against, budget, worse, "unproven", documents, needed)


def gate(keep: Mapping[str, float], against: Sequence[Comparison]) -> Gate:
    """Judge every budget in `keep` against the start checkpoint and, where there is one, the curated-only control.

    Raises `InputError` for a budget on something unknown or not measured.
    """
    verdicts = []
    for name, budget in keep.items():
        if name not in KEPT:
            raise InputError(f"`keep.{name}` is no budget{nearest(name, KEPT)}", fix="change the key under `keep`")
        measured = [c for c in against if name in c.groups]
        if not measured:
            raise InputError(f"`keep.{name}` is set, but nothing measures it", fix=f"add a suite of the group `{name}`")
        for comparison in measured:
            change = comparison.groups[name]
            verdicts.append(judge(name, change.worse, budget, change.examples, comparison.before))
    return _settled(verdicts)


def all_of(gates: Iterable[Gate]) -> Gate:
    """Several gates as one: broken where one is, unproven where one is, else within."""
    return _settled([verdict for one in gates for verdict in one.verdicts])


def _settled(verdicts: Sequence[Verdict]) -> Gate:
    found = {verdict.status for verdict in verdicts}
    status: Status = "broken" if "broken" in found else "unproven" if "unproven" in found else "within"
    return Gate(status, tuple(verdicts))
