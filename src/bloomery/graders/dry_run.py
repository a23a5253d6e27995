"""A grader tried on a few rows before anything depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.core.errors import InputError
from bloomery.graders.load import Scaled
from bloomery.graders.payload import Grader, Sample, Score
from bloomery.graders.rows import with_answer

OPEN_ENDED = ("python", "endpoint", "multi")
"""Kinds whose full marks nothing tells, unless they state a range or a scale."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One row: the score of its own answer (None without one) and of its reference answer as the answer."""

    id: str
    own: Score | None
    reference: Score | None
    problem: str = ""
    """What is wrong with the reference answer's score."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a grader made of its sample rows."""

    name: str
    verified: bool
    rows: tuple[Tried, ...]

    @property
    def scored(self) -> list[Score]:
        """Scores of the rows' own answers."""
        return [row.own for row in self.rows if row.own is not None]

    @property
    def unscorable(self) -> float:
        """Share of the rows' own answers without a score."""
        return sum(one.aggregate_reward_score is None for one in self.scored) / max(1, len(self.scored))

    @property
    def fine(self) -> bool:
        """Whether something got a score, and every reference answer the one it should."""
        tried = [one for row in self.rows for one in (row.own, row.reference) if one is not None]
        some = any(one.aggregate_reward_score is not None for one in tried)
        return some and not any(row.problem for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Rows with score and reason, the share without a score, and whether all is well."""
        rows = [
            {"id": row.id}
            | ({"answer": row.own.payload()} if row.own else {})
            | ({"reference": row.reference.payload()} if row.reference else {})
            | ({"problem": row.problem} if row.problem else {})
            for row in self.rows
        ]
        known = [one.aggregate_reward_score for one in self.scored if one.aggregate_reward_score is not None]
        mean = sum(known) / len(known) if known else None
        head = {"grader": self.name, "verified": self.verified, "fine": self.fine}
        return head | {"mean": mean, "unscorable": self.unscorable, "rows": rows}


def dry_run(grader: Grader, samples: Sequence[Sample], answered: Sequence[bool], spec: Mapping[str, Any]) -> DryRun:
    """Grade each row's own answer, and its reference answer in its place where the grader's scores are checked.

    A checked score must be full for the reference answer: 1, or the top of `range`; where nothing tells the top, no
    less than the row's own answer gets. Raises `InputError` for a grader that cannot work at all.
    """
    own = dict(zip([at for at, has in enumerate(answered) if has], _own(grader, samples, answered), strict=True))
    places = [at for at, sample in enumerate(samples) if grader.verified and _reference(sample) is not None]
    right = grader.grade([with_answer(samples[at], _reference(samples[at]) or "") for at in places])
    references = dict(zip(places, right, strict=True))
    top = _top(grader, spec)
    if not own and not references:
        raise InputError("no row has an answer to grade", fix="add `response` to the rows, or end them with an answer")
    return DryRun(
        grader.name,
        grader.verified,
        tuple(
            Tried(sample.id, own.get(at), references.get(at), _problem(references.get(at), own.get(at), top))
            for at, sample in enumerate(samples)
        ),
    )


def _own(grader: Grader, samples: Sequence[Sample], answered: Sequence[bool]) -> list[Score]:
    return grader.grade([sample for sample, has in zip(samples, answered, strict=True) if has])


def _reference(sample: Sample) -> str | None:
    wanted = sample.reference_answer
    first = wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted
    return str(first) if isinstance(first, str | int | float) and not isinstance(first, bool) else None


def _top(grader: Grader, spec: Mapping[str, Any]) -> float | None:
    if isinstance(grader, Scaled):
        return 1.0
    if spec.get("range") is not None:
        return float(spec["range"][1])
    return None if spec["type"] in OPEN_ENDED else 1.0


def _problem(reference: Score | None, own: Score | None, top: float | None) -> str:
    if reference is None:
        return ""
    value = reference.aggregate_reward_score
    if value is None:
        return f"the reference answer has no score: {reference.reason}"
    least = top if top is not None else (own.aggregate_reward_score if own else None)
    if least is not None and value < least - 1e-9:
        return f"the reference answer gets {value:g}, not {'' if top is not None else 'at least '}{least:g}"
    return ""
