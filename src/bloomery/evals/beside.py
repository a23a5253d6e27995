"""Suites of pairs: a model's answers beside the rows' own, or those of several models beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bloomery.core.errors import InputError
from bloomery.evals.answered import Answers, record_of
from bloomery.evals.pairwise import Battle, Tournament, by_grader, fought, standing
from bloomery.evals.results import Drawn, EvalResult, Record
from bloomery.evals.rows import references_of
from bloomery.evals.suites import Row, Suite
from bloomery.graders.load import NOTHING, Given

CHANCE = 0.5
"""Part of a pair that an answer wins where there is nothing to choose."""


@dataclass(frozen=True, slots=True)
class Standings:
    """What came of one suite of pairs. `why` is the commonest reason of the pairs that have no verdict."""

    suite: str
    models: tuple[str, ...]
    prompts: int
    tournament: Tournament | None
    """None where no pair could be judged."""
    unjudged: int
    why: str = ""

    @property
    def pairs(self) -> int:
        """Pairs of answers, judged or not."""
        return self.unjudged + (len(self.tournament.battles) if self.tournament else 0)


def against_reference(suite: Answers, rows: Sequence[Row]) -> list[Record]:
    """One model's answers beside the rows' own: the score is the part of the pair of verdicts that it won."""
    own = [_own(row) for row in rows]
    answers = suite.every(rows)
    texts = {"model": [many[0][1] for many in answers], "reference": own}
    found, unjudged = fought(rows, texts, by_grader(suite.suite.grader or {}, suite.base, suite.given))
    won, why = {one.number: one for one in found}, {number: reason for number, _, _, reason in unjudged}
    records = []
    for n, (row, many) in enumerate(zip(rows, answers, strict=True)):
        one = won.get(n)
        drawn = [Drawn(many[0][1], one.won if one else None, why.get(n, ""))]
        values = {"shown_first": one.shown_first} if one else {}
        records.append(record_of(row, n, many[:1], drawn, values=values, chance=CHANCE))
    return records


def only_answered(suite: Answers, rows: Sequence[Row]) -> list[Record]:
    """One model's answers, to be judged beside those of others."""
    return [
        record_of(row, n, many[:1], [Drawn(many[0][1], None, "no other model answered")], chance=CHANCE)
        for n, (row, many) in enumerate(zip(rows, suite.every(rows), strict=True))
    ]


def side_by_side(
    results: Sequence[EvalResult], suites: Sequence[Suite], given: Given = NOTHING
) -> tuple[list[EvalResult], list[Standings], list[dict[str, Any]]]:
    """The answers of all models to every suite of pairs, judged beside each other.

    Gives the results with each answer's part won against the others as its score; the standings of each suite; and
    every pair with both answers, for a browser of samples. Raises `InputError` for fewer than two models.
    """
    names = _named([result.model for result in results])
    scored, tables, samples = list(results), [], []
    for suite in (one for one in suites if one.kind == "pairwise"):
        rows = suite.load_rows()
        answers = {name: _answers(one, suite.name) for name, one in zip(names, scored, strict=True)}
        found, unjudged = fought(rows, answers, by_grader(suite.grader or {}, None, given))
        reasons = [why for *_, why in unjudged]
        table = standing(found, names, len(rows), len(unjudged)) if found else None
        common = max(reasons, key=reasons.count, default="")
        tables.append(Standings(suite.name, tuple(names), len(rows), table, len(unjudged), common))
        why = {(n, model): reason for n, a, b, reason in unjudged for model in (a, b)}
        scored = [_with_scores(one, suite.name, name, found, why) for name, one in zip(names, scored, strict=True)]
        samples += [_sample(suite.name, scored, names, one) for one in found]
        samples += [_sample(suite.name, scored, names, one) for one in unjudged]
    return scored, tables, samples


def _answers(result: EvalResult, suite: str) -> list[str]:
    return [record.answer for record in result.suites[suite].records]


def _with_scores(
    result: EvalResult, suite: str, name: str, found: Sequence[Battle], why: Mapping[tuple[int, str], str]
) -> EvalResult:
    """The result with the suite's records scored by the part that the model's answers won."""
    parts: dict[int, list[float]] = {}
    for one in found:
        if name in (one.first, one.second):
            parts.setdefault(one.number, []).append(one.won if one.first == name else 1 - one.won)
    old = result.suites[suite]
    records = tuple(
        replace(record, score=sum(parts[n]) / len(parts[n]), reason="")
        if n in parts
        else replace(record, score=None, reason=why.get((n, name), "the judge gave no verdict"))
        for n, record in enumerate(old.records)
    )
    return replace(result, suites={**result.suites, suite: replace(old, records=records)})


def _sample(
    suite: str, results: Sequence[EvalResult], names: Sequence[str], one: Battle | tuple[int, str, str, str]
) -> dict[str, Any]:
    """One pair with both answers and what the judge made of it."""
    number, first, second = (one.number, one.first, one.second) if isinstance(one, Battle) else one[:3]
    a, b = (results[names.index(name)].suites[suite].records[number] for name in (first, second))
    told: dict[str, Any] = {"suite": suite, "id": a.id, "prompt": a.prompt}
    told |= {"first": {"model": first, "answer": a.answer}, "second": {"model": second, "answer": b.answer}}
    if isinstance(one, Battle):
        return told | {"won_by_first": one.won, "turned_with_the_order": one.swapped, "reason": ""}
    return told | {"won_by_first": None, "turned_with_the_order": None, "reason": one[3]}


def _named(models: Sequence[str]) -> list[str]:
    """The models' names, told apart where one stands twice."""
    if len(models) < 2:
        raise InputError("one model cannot be compared", fix="name two or more")
    return [
        name if models.count(name) == 1 else f"{name} ({models[: at + 1].count(name)})"
        for at, name in enumerate(models)
    ]


def _own(row: Row) -> str:
    found = references_of(row)
    if not found:
        raise InputError(
            f"row `{row.get('id')}` has no answer of its own to stand beside the model's",
            fix="add `reference_answer` (another model's answer), or name several models: `bloomery compare A B`",
        )
    return found[0]
