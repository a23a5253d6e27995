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
from bloomery.evals.answered import Answers, record_of, sample_of
from bloomery.evals.bootstrap import Array, enough, resampled_sums
from bloomery.evals.results import Drawn, Record
from bloomery.evals.rows import references_of
from bloomery.evals.suites import Row
from bloomery.graders.load import load_grader

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


Ask = Callable[[Sequence[Pair]], list[float | None]]
"""For each pair from 0, the second answer is better, to 1, the first is; 0.5 is a tie, None could not be judged."""


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


def by_grader(spec: Mapping[str, Any], base: Path | None = None) -> Ask:
    """Ask a grader: it scores the first answer, and finds the second in `metadata.other`.

    Its score must be from 0 to 1 (`scale` maps others); one outside has no verdict.
    """
    grader = load_grader(spec, base)

    def ask(pairs: Sequence[Pair]) -> list[float | None]:
        samples = [sample_of(pair.row, pair.number, pair.first, {"other": pair.second}) for pair in pairs]
        scores = [grade.aggregate_reward_score for grade in grader.grade(samples)]
        return [score if score is not None and 0 <= score <= 1 else None for score in scores]

    return ask


def battles(rows: Sequence[Row], answers: Mapping[str, Sequence[str]], ask: Ask) -> tuple[list[Battle], int]:
    """Every two models' answers to every row, judged in both orders; and how many pairs could not be.

    Raises `InputError` for fewer than two models, and for one with another number of answers.
    """
    if len(answers) < 2:
        raise InputError("one model cannot be compared", fix="name two or more")
    for model, given in answers.items():
        if len(given) != len(rows):
            raise InputError(f"`{model}` has {len(given)} answers to {len(rows)} prompts", fix="answer all of them")
    asked = [(n, a, b) for n in range(len(rows)) for a, b in combinations(answers, 2)]
    shown = [Pair(rows[n], n, answers[a][n], answers[b][n]) for n, a, b in asked]
    turned = [Pair(pair.row, pair.number, pair.second, pair.first) for pair in shown]
    verdicts = ask([*shown, *turned])
    found = []
    for at, (n, a, b) in enumerate(asked):
        one, two = verdicts[at], verdicts[at + len(asked)]
        if one is not None and two is not None:
            swapped = (one - 0.5) * (two - 0.5) > 0
            found.append(Battle(n, a, b, (one + 1 - two) / 2, (one + two) / 2, swapped))
    return found, len(asked) - len(found)


def tournament(rows: Sequence[Row], answers: Mapping[str, Sequence[str]], ask: Ask, draws: int = DRAWS) -> Tournament:
    """Judge every pair and fit strengths; prompts are drawn with replacement, all pairs of one together.

    Raises `InputError` where nothing could be judged.
    """
    found, unjudged = battles(rows, answers, ask)
    if not found:
        raise InputError(f"none of the {unjudged} pairs could be judged", fix="try the judge on one pair")
    names = list(answers)
    wins = np.zeros((len(rows), len(names), len(names)))
    firsts = np.zeros((len(rows), 2))
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


def against_reference(suite: Answers, rows: Sequence[Row]) -> list[Record]:
    """One model's answers beside the rows' own: the score is the part of the pair of verdicts that it won."""
    answers = suite.drawn(rows)
    texts = {"model": [many[0][1] for many in answers], "reference": [_own(row) for row in rows]}
    found, _ = battles(rows, texts, by_grader(suite.suite.grader or {}, suite.base))
    won = {one.number: one for one in found}
    records = []
    for n, (row, many) in enumerate(zip(rows, answers, strict=True)):
        one = won.get(n)
        reason = "" if one else "the judge gave no verdict"
        drawn = Drawn(many[0][1], one.won if one else None, reason)
        values = {"shown_first": one.shown_first} if one else {}
        records.append(record_of(row, n, many[:1], [drawn], values=values, chance=0.5))
    return records


def _own(row: Row) -> str:
    found = references_of(row)
    if not found:
        raise InputError(
            f"row `{row.get('id')}` has no answer of its own to stand beside the model's",
            fix="add `reference_answer` (another model's answer), or call `tournament` with both models' answers",
        )
    return found[0]
