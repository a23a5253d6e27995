"""Mathematical answers, compared by value: LaTeX and plain, fractions, sets, intervals, expressions (math-verify)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.sandbox import Outcome, call_each
from bloomery.core.sandbox_level import Level, Limits, check_level
from bloomery.graders.payload import Sample, Score
from bloomery.graders.template import references

WORKER = Path(__file__).with_name("maths_worker.py")
"""By path: math-verify is slow to import, and is of use in the other process only."""
MOST = 20_000
"""Characters of an answer's end that are parsed; the result stands there."""


@dataclass(frozen=True, slots=True)
class Maths:
    """1 where the answer's result equals `reference_answer`, or one of them; 0 too where it holds no result.

    The result is what math-verify takes for it: in a box, in LaTeX, after "answer is", the last one; or what follows
    `####`.

    LaTeX is parsed and simplified by programs that hostile input can keep busy for years, so both run in a process that
    is killed.
    """

    name: str = "maths"
    seconds: float = 6.0
    """What one comparison may take."""
    level: Level = "process"
    """`process` or `isolated`. The code is math-verify's and needs no trust, only a limit."""
    verified: bool = True

    def __post_init__(self) -> None:
        check_level(self.level, True, "math-verify runs")
        if self.level == "trusted":
            raise InputError("`level: trusted` has no time limit", fix="use `level: process`")

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; unscorable where the reference is no mathematics, or comparing takes too long."""
        scores: dict[int, Score] = {}
        items = []
        for at, sample in enumerate(samples):
            try:
                texts = {"wanted": references(sample), "answer": _result(sample.answer)}
                items.append((at, texts | {"seconds": self.seconds}))
            except ValueError as error:
                scores[at] = Score(sample.id, None, reason=str(error))
        for (at, _), outcome in zip(items, self._outcomes([item for _, item in items]), strict=True):
            scores[at] = _score(samples[at], outcome)
        return [scores[at] for at in range(len(samples))]

    def _outcomes(self, items: Sequence[object]) -> list[Outcome]:
        if not items:
            return []
        limits = Limits(self.seconds * 2 + 1, 4 << 30)  # the worker's own limit comes first, and costs no new process
        return call_each(WORKER, "equal", items, limits, self.level)


def _result(answer: str) -> str:
    """The end of an answer; of one with GSM8K's mark, what follows it."""
    return answer[-MOST:].rsplit("####", 1)[-1]


def _score(sample: Sample, outcome: Outcome) -> Score:
    if outcome.error:
        return Score(sample.id, None, reason=outcome.error)
    return Score(sample.id, float(outcome.value["equal"]), reason=str(outcome.value["why"]))
