"""Tasks of several turns, attempted by a model in their environment: how often it is right, and what that is worth.

Whoever can play is given: environments, their processes and the turns belong to `rl`, which this package does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bloomery.core.errors import InputError
from bloomery.evals.ledger import RIGHT
from bloomery.evals.results import Drawn, Record
from bloomery.evals.rows import ident, part, question, reference_of
from bloomery.evals.suites import Row, Suite


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rollout. `reward` is None where nothing can be said of the model, for the `reason`: what failed was the
    environment, or the grader. `said` is the conversation after the task's own messages."""

    reward: float | None
    reason: str
    turns: int
    tokens: int
    said: str


Play = Callable[[Suite, Sequence[Row], int], list[list[Attempt]]]
"""(suite, its rows, seed) -> the attempts at each row, in order; every model of one seed gets the same games."""


def played(play: Play, suite: Suite, rows: Sequence[Row], seed: int) -> list[Record]:
    """A record of each task: the share of its scored attempts that are right."""
    right = float((suite.environment or {}).get("right", RIGHT))
    found = zip(rows, play(suite, rows, seed), strict=True)
    return [_record(row, number, attempts, right) for number, (row, attempts) in enumerate(found)]


def nobody(suite: Suite, rows: Sequence[Row], seed: int) -> list[list[Attempt]]:
    """Nobody is there to play."""
    raise InputError(
        f"the suite `{suite.name}` is played in an environment, and nothing here plays", fix="leave it out"
    )


def _record(row: Row, number: int, attempts: Sequence[Attempt], right: float) -> Record:
    drawn = tuple(_drawn(one, right) for one in attempts)
    scored = [one for one in attempts if one.reward is not None]
    passed = [one.score for one in drawn if one.score is not None]
    values = {"unscorable": 1 - len(scored) / len(attempts)}
    if scored:
        values |= {"reward": fmean(one.reward or 0.0 for one in scored), "turns": fmean(one.turns for one in scored)}
    wanted = reference_of(row)
    return Record(
        ident(row, number),
        part(row),
        fmean(passed) if passed else None,
        "" if passed else drawn[0].reason,
        tokens=sum(one.tokens for one in attempts),
        prompt=question(row),
        answer=drawn[0].answer,
        reference="" if wanted is None else str(wanted),
        samples=drawn if len(drawn) > 1 else (),
        values=values,
    )


def _drawn(one: Attempt, right: float) -> Drawn:
    """An attempt as an answer: right or wrong, or neither."""
    return Drawn(one.said, None if one.reward is None else float(one.reward >= right - 1e-9), one.reason)
