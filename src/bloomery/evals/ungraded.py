"""Answers that could not be graded, each by itself where several are drawn to a row: how many, of which model, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bloomery.evals.results import EvalResult

SEVERAL = "the reasons differ, or may hold a row; the page of the report shows the commonest"


@dataclass(frozen=True, slots=True)
class Ungraded:
    """One suite under one model; `reason` is the commonest, and may hold a row."""

    suite: str
    model: str
    answers: int
    of: int
    reason: str
    shared: bool
    """Whether all of them, more than one, have that reason: then it tells of no row."""

    @property
    def public(self) -> str:
        """The reason, where it tells of no row."""
        return self.reason if self.shared else SEVERAL

    def said(self, private: bool = False) -> str:
        """A sentence without a full stop; with `private` the commonest reason even where it may hold a row."""
        counted = f"{self.answers:,} of {self.of:,} answers of {self.model} to {self.suite} could not be graded"
        return f"{counted}: {self.reason if private else self.public}"


def ungraded(models: Sequence[EvalResult]) -> tuple[Ungraded, ...]:
    """Every suite of every model that has such answers."""
    found = []
    for model in models:
        for suite in model.suites.values():
            graded = () if suite.kind == "bpb" else suite.records
            answers = [(record.prompt, one) for record in graded for one in record.samples or (record,)]
            without = [(prompt, one.reason) for prompt, one in answers if one.score is None]
            if without:
                reasons = Counter(reason for _, reason in without).most_common()
                shared = len(reasons) == 1 and len({prompt for prompt, _ in without}) > 1
                told = (len(without), len(answers), reasons[0][0] or "the grader does not say why", shared)
                found.append(Ungraded(suite.name, model.model, *told))
    return tuple(found)
