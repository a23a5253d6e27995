"""The ledger: which examples went from right to wrong and back, minus what chance alone moves.

Averages hide forgetting: a model that loses fifty answers and finds fifty others has the same mean
(arXiv 2510.17776).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RIGHT = 0.5
"""An example is right from this score on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One example before and after; scores in [0, 1], `chance` the score of a blind guess."""

    before: float
    after: float
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts of examples by what became of them; the four sum to the number of examples."""

    stayed_right: int
    stayed_wrong: int
    lost: int
    """Right before, wrong after."""
    gained: int
    """Wrong before, right after."""
    by_chance: float
    """Expected moves in each direction between two models that guess where they do not know."""
    p_value: float
    """Exact two-sided sign test of lost against gained: how often equal models would differ this much."""

    @property
    def examples(self) -> int:
        """All examples."""
        return self.stayed_right + self.stayed_wrong + self.lost + self.gained

    @property
    def lost_beyond_chance(self) -> float:
        """Right-to-wrong moves that chance does not explain, never below zero."""
        return max(self.lost - self.by_chance, 0.0)

    @property
    def gained_beyond_chance(self) -> float:
        """Wrong-to-right moves that chance does not explain, never below zero."""
        return max(self.gained - self.by_chance, 0.0)


def ledger(entries: Sequence[Entry], noise: int | None = None) -> Ledger:
    """The ledger of paired examples.

    `noise` is the number of right-to-wrong moves between two evaluations of the *same* model (another
    sampling seed); where it is not given, moves by chance come from guessing alone: greedy answers
    to open questions then have none.
    """
    moves = [(e.before >= RIGHT, e.after >= RIGHT) for e in entries]
    lost, gained = moves.count((True, False)), moves.count((False, True))
    by_chance = expected_by_guessing(entries) if noise is None else float(noise)
    return Ledger(
        moves.count((True, True)), moves.count((False, False)), lost, gained, by_chance, sign_test(lost, gained)
    )


def expected_by_guessing(entries: Sequence[Entry]) -> float:
    """Right-to-wrong moves expected among questions that both models guess.

    With chance level c, a model that is wrong on a share w of the questions guesses on w / (1 - c) of
    them. At most the smaller of the two models' shares is guessed by both; there, a right guess turns
    into a wrong one with probability c (1 - c). Zero where a blind guess is never right.
    """
    expected = 0.0
    for chance in {e.chance for e in entries if 0 < e.chance < 1}:
        group = [e for e in entries if e.chance == chance]
        wrong = min(sum(e.before < RIGHT for e in group), sum(e.after < RIGHT for e in group))
        expected += min(wrong / (1 - chance), len(group)) * chance * (1 - chance)
    return expected


def sign_test(lost: int, gained: int) -> float:
    """Exact two-sided p-value of a fair coin giving `lost` and `gained` (McNemar's exact test)."""
    n, k = lost + gained, min(lost, gained)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, float(2 * tail / 2**n))
