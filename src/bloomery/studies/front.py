"""Candidates against a reference: what each gained and lost, which are on the Pareto front, and which one is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloomery.evals.compare import Change, Comparison

ABILITIES = ("skills", "instruction", "refusal", "over_refusal")


@dataclass(frozen=True, slots=True)
class Standing:
    """One model against the reference; more is worse in all three, and 0.01 is one per cent or one point.

    `domain` and `general` are relative changes of bits per byte, `abilities` the mean loss of graded scores.
    """

    name: str
    groups: Mapping[str, Change]
    baseline: bool = False

    @property
    def domain(self) -> float:
        return self._worse("domain")

    @property
    def general(self) -> float:
        return self._worse("general")

    @property
    def abilities(self) -> float:
        """Zero where the family has no graded suites."""
        found = [self._worse(name) for name in ABILITIES if name in self.groups]
        return sum(found) / len(found) if found else 0.0

    @property
    def objectives(self) -> tuple[float, float, float]:
        return self.domain, self.general, self.abilities

    def within(self, keep: float) -> bool:
        """Whether general text and graded abilities stay within `keep` of the reference."""
        return self.general <= keep and self.abilities <= keep

    def _worse(self, name: str) -> float:
        return self.groups[name].worse.estimate if name in self.groups else 0.0


def standing(name: str, comparison: Comparison, baseline: bool = False) -> Standing:
    """What `compare(reference, model)` found, as a standing."""
    return Standing(name, comparison.groups, baseline)


def dominates(one: Standing, other: Standing) -> bool:
    """At least as good in everything, better in something."""
    pairs = list(zip(one.objectives, other.objectives, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(standings: Sequence[Standing]) -> list[Standing]:
    """Those that no other one dominates, best domain first; a NaN is on no front."""
    real = [one for one in standings if all(map(math.isfinite, one.objectives))]
    kept = [one for one in real if not any(dominates(other, one) for other in real)]
    return sorted(kept, key=lambda one: one.objectives)


def choose(standings: Sequence[Standing], keep: float) -> Standing | None:
    """The candidate to keep: on the front, within `keep` of the reference, the best domain of those.

    None where none of them is within, or none has a better domain than the reference itself.
    """
    fit = [one for one in front(standings) if not one.baseline and one.within(keep) and one.domain < 0]
    return min(fit, key=lambda one: one.domain, default=None)


def preferred(standings: Sequence[Standing], keep: float) -> Standing:
    """The one that the same rule puts first, where all have to be ranked: within `keep`, then nearest to it."""

    def rank(one: Standing) -> tuple[bool, float]:
        excess = max(one.general, one.abilities) - keep
        return (not one.within(keep), one.domain if one.within(keep) else excess)

    return min(standings, key=rank)
