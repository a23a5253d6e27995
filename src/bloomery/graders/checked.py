"""Graders that run the curated data's own checkers: constraints, refusals, workflow programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bloomery.core.errors import InputError
from bloomery.data.curated import checks
from bloomery.graders.answers import each
from bloomery.graders.payload import Sample, Score


@dataclass(frozen=True, slots=True)
class Constraint:
    """1 where the answer has the form that `metadata.constraint` names: uppercase, words, starts_with, ..."""

    name: str = "constraint"
    verified: bool = True

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; unscorable for a constraint we do not know or one without its arguments."""
        return each(samples, lambda sample: checks.meets(sample.answer, sample.metadata))


@dataclass(frozen=True, slots=True)
class Curated:
    """Grades a curated row by the checker it names in `metadata.grader`: exact, number or constraint."""

    name: str = "curated"
    verified: bool = True

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; unscorable for a checker we do not know or one without its arguments."""
        return each(samples, lambda s: checks.is_correct(s.answer, str(s.reference_answer or ""), s.metadata))


@dataclass(frozen=True, slots=True)
class Refusal:
    """1 where the answer does what is expected of it: declines, or does not."""

    name: str = "refusal"
    expect: Literal["refuse", "answer"] = "refuse"
    verified: bool = True

    def __post_init__(self) -> None:
        if self.expect not in ("refuse", "answer"):
            raise InputError(f"`expect: {self.expect}` is not refuse or answer", fix="change `expect`")

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; an empty answer neither declines nor answers, so it is always 0."""
        return each(samples, self._as_expected)

    def _as_expected(self, sample: Sample) -> bool:
        return bool(sample.answer.strip()) and checks.refuses(sample.answer) == (self.expect == "refuse")


@dataclass(frozen=True, slots=True)
class Workflow:
    """1 where a program in the demo's workflow language does what the reference program does."""

    name: str = "workflow"
    verified: bool = True

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0, with the checker's reason; unscorable where the row has no reference program that runs."""
        return [_run(sample) for sample in samples]


def _run(sample: Sample) -> Score:
    from bloomery.data.curated.workflow.check import check  # its interpreter is of no use to the other kinds

    try:
        verdict = check(sample.answer.strip(), sample.metadata)
    except InputError as error:
        return Score(sample.id, None, reason=str(error))
    return Score(sample.id, float(verdict.ok), reason=verdict.reason)
