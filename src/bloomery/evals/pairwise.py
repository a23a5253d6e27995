"""Two answers to one prompt beside each other: who judges, in both orders, and the strengths that explain it all.

Strengths are those of Bradley and Terry (1952): a model of strength s beats one of strength t with probability
s / (s + t). A tie is half a win to each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.intervals import Interval, percentile
from bloomery.evals.answered import sample_of
from bloomery.evals.bootstrap import Array, enough, resampled_sums
from bloomery.evals.suites import Row
from bloomery.graders.judge import Pairwise
from bloomery.graders.load import NOTHING, Given, load_grader
from bloomery.graders.payload import Score

DRAWS = 1_000
"""Bootstrap draws; each is one fit."""
PRIOR = 0.5
"""Ties between every pair that are added to what was judged, so that a model that never loses has a finite strength."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the row, in the order in which they are shown."""

    row: Row
    number: int
    first: str
    second: str


Verdict = float | str | None
Ask = Callable[[Sequence[Pair]], Sequence[Verdict]]
"""For each pair from 0, the second answer is better, to 1, the first is; 0.5 is a tie. None could not be judged, or a
text, which says why."""


@dataclass(frozen=True, slots=True)
class Battle:
    """One prompt judged in both orders: the part that the first model of the pair won, from 0 to 1.

    `swapped` is whether the order decided: the answer shown first, or the one shown second, was better both times.
    """

    number: int
    first: str
    second: str
    won: float
    shown_first: float
    """Mean verdict for the answer shown first: 0.5 where the order makes no difference."""
    swapped: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A model: its strength as the chance to beat the mean of the others, with bootstrap bounds over prompts."""

    model: str
    win_rate: Interval
    wins: float
    losses: float
    ties: int


@dataclass(frozen=True, slots=True)
class Tournament:
    """Every model against every other. `position_bias` is the mean verdict for the answer shown first, less 0.5."""

    standings: tuple[Standing, ...]
    battles: tuple[Battle, ...]
    unjudged: int
    position_bias: Interval
    swapped: float
    """Part of the pairs in which the order decided."""


def by_grader(spec: Mapping[str, Any], base: Path | None = None, given: Given = NOTHING) -> Ask:
    """Ask a grader: it scores the first answer, and finds the second in `metadata.other`.

    Its score must be from 0 to 1 (`scale` maps others); one outside is no verdict.
    """
    grader = load_grader(spec, base, given)
    grade = grader.in_order if isinstance(grader, Pairwise) else grader.grade

    def ask(pairs: Sequence[Pair]) -> list[Verdict]:
        samples = [sample_of(pair.row, pair.number, pair.first, {"other": pair.second}) for pair in pairs]
        return [_verdict(grade) for grade in grade(samples)]

    return ask


def _verdict(grade: Score) -> Verdict:
    score = grade.aggregate_reward_score
    if score is None:
        return grade.reason or "the judge gave no verdict"
    return score if 0 <= score <= 1 else f"the score {score:g} is outside 0 to 1: give `scale`"


def battles(rows: Sequence[Row], answers: Mapping[str, Sequence[str]], ask: Ask) -> tuple[list[Battle], int]:
    """Every two models' answers to every row, judged in both orders; and how many pairs could not be.

    Raises `InputError` for fewer than two models, and for one with another number of answers.
    """
    found, unjudged = fought(rows, answers, ask)
    return found, len(unjudged)


def fought(
    rows: Sequence[Row], answers: Mapping[str, Sequence[str]], ask: Ask
) -> tuple[list[Battle], list[tuple[int, str, str, str]]]:
    """The same, with (number of the row, the two models, why) for every pair that could not be judged."""
    if len(answers) < 2:
        raise InputError("one model cannot be compared", fix="name two or more")
    for model, given in answers.items():
        if len(given) != len(rows):
            raise InputError(f"`{model}` has {len(given)} answers to {len(rows)} prompts", fix="answer all of them")
    asked = [(n, a, b) for n in range(len(rows)) for a, b in combinations(answers, 2)]
    shown = [Pair(rows[n], n, answers[a][n], answers[b][n]) for n, a, b in asked]
    turned = [Pair(pair.row, pair.number, pair.second, pair.first) for pair in shown]
    verdicts = ask([*shown, *turned])
    found, unjudged = [], []
    for at, (n, a, b) in enumerate(asked):
        one, two = verdicts[at], verdicts[at + len(asked)]
        if isinstance(one, int | float) and isinstance(two, int | float):
            swapped = (one - 0.5) * (two - 0.5) > 0
            found.append(Battle(n, a, b, (one + 1 - two) / 2, (one + two) / 2, swapped))
        else:
            why = next((verdict for verdict in (one, two) if isinstance(verdict, str)), "the judge gave no verdict")
            unjudged.append((n, a, b, why))
    return found, unjudged


def tournament(rows: Sequence[Row], answers: Mapping[str, Sequence[str]], ask: Ask, draws: int = DRAWS) -> Tournament:
    """Judge every pair and fit strengths; prompts are drawn with replacement, all pairs of one together.

    Raises `InputError` where nothing could be judged.
    """
    found, unjudged = fought(rows, answers, ask)
    if not found:
        raise InputError(f"none of the {len(unjudged)} pairs could be judged", fix="try the judge on one pair")
    return standing(found, list(answers), len(rows), len(unjudged), draws)


def standing(
    found: Sequence[Battle], names: Sequence[str], rows: int, unjudged: int = 0, draws: int = DRAWS
) -> Tournament:
    """The tournament that these battles, one or more, over so many rows were."""
    wins = np.zeros((rows, len(names), len(names)))
    firsts = np.zeros((rows, 2))
    for one in found:
        a, b = names.index(one.first), names.index(one.second)
        wins[one.number, a, b] += one.won
        wins[one.number, b, a] += 1 - one.won
        firsts[one.number] += (one.shown_first - 0.5, 1)
    used = firsts[:, 1] > 0
    wins, firsts = wins[used], firsts[used]
    sums = resampled_sums(wins.reshape(len(wins), -1), draws).reshape(draws, len(names), len(names))
    rates, drawn = win_rates(wins.sum(0)), np.array([win_rates(one) for one in sums])
    with np.errstate(invalid="ignore"):
        lean, leans = firsts.sum(0), resampled_sums(firsts, draws)
        bias = percentile(float(lean[0] / lean[1]), leans[:, 0] / leans[:, 1])
    standings = [
        Standing(name, enough(percentile(float(rates[at]), drawn[:, at]), len(wins)), *_record(name, found))
        for at, name in enumerate(names)
    ]
    swapped = sum(one.swapped for one in found) / len(found)
    return Tournament(tuple(standings), tuple(found), unjudged, enough(bias, len(wins)), swapped)


def win_rates(wins: Array) -> Array:
    """[m, m] wins of row over column -> the chance of each to beat the others, on average, by fitted strengths."""
    strength = np.exp(bradley_terry(wins))
    beats = strength[:, None] / (strength[:, None] + strength[None, :])
    np.fill_diagonal(beats, 0.0)
    return np.asarray(beats.sum(1) / (len(wins) - 1))


def bradley_terry(wins: Array, rounds: int = 1_000, close: float = 1e-10) -> Array:
    """Log strengths with mean 0 of maximum likelihood under `PRIOR`, by Hunter's iteration (Ann. Stat. 2004)."""
    padded = wins + PRIOR / 2 * (1 - np.eye(len(wins)))
    games = padded + padded.T
    strength = np.ones(len(wins))
    for _ in range(rounds):
        share = games / (strength[:, None] + strength[None, :])
        after = padded.sum(1) / share.sum(1)
        after /= math.exp(float(np.log(after).mean()))
        moved = float(np.abs(np.log(after / strength)).max())
        strength = after
        if moved < close:
            break
    return np.asarray(np.log(strength))


def _record(name: str, found: Sequence[Battle]) -> tuple[float, float, int]:
    """(wins, losses, ties) of a model, by pairs of verdicts."""
    won = [one.won if one.first == name else 1 - one.won for one in found if name in (one.first, one.second)]
    return sum(w > 0.5 for w in won), sum(w < 0.5 for w in won), sum(w == 0.5 for w in won)
