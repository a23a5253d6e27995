"""Whether a judge still scores as it did: a fixed set of answers from the first step, scored again every few steps.

judged.json    the answers and their first scores, readable by the owner only
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from bloomery.core.files import write_text
from bloomery.graders.payload import Grader, Sample

KEPT = 16
"""Answers in the fixed set."""
FILE = "judged.json"


@dataclass(slots=True)
class Drift:
    """The fixed set in `folder`, taken from the first answers that were scored. `fresh` gives the grader as it is at
    the beginning: one that has judged an answer before would answer from memory."""

    fresh: Callable[[], Grader]
    folder: Path
    every: int
    kept: list[tuple[Sample, float]] = field(default_factory=list)
    seen: int | None = None

    def __post_init__(self) -> None:
        path = self.folder / FILE
        if path.is_file():
            told = json.loads(path.read_text(encoding="utf-8"))
            self.kept = [(Sample(**one["sample"]), float(one["score"])) for one in told]

    def see(self, samples: Sequence[Sample], scores: Sequence[float | None], step: int) -> dict[str, float]:
        """Take in a step's answers and their scores. Every `every` steps: `judge_drift`, the mean change of the set's
        scores, and `judge_moved`, the mean size of the change."""
        if not self.kept:
            self._keep(samples, scores)
            return {}
        if step % self.every or step == self.seen:
            return {}
        self.seen = step  # a step asks for scores more than once where groups are replaced
        named = [replace(one, id=f"{one.id}@{step}") for one, _ in self.kept]
        again = self.fresh().grade(named)
        apart = [
            score.aggregate_reward_score - before
            for score, (_, before) in zip(again, self.kept, strict=True)
            if score.aggregate_reward_score is not None
        ]
        if not apart:
            return {}
        return {"judge_drift": float(np.mean(apart)), "judge_moved": float(np.mean(np.abs(apart)))}

    def _keep(self, samples: Sequence[Sample], scores: Sequence[float | None]) -> None:
        """The first of each distinct answer, so that the set is as wide as the step."""
        found: dict[str, tuple[Sample, float]] = {}
        for sample, score in zip(samples, scores, strict=True):
            if score is not None:
                found.setdefault(json.dumps(sample.messages), (sample, score))
        self.kept = [*found.values()][:KEPT]
        told = [{"sample": asdict(sample), "score": score} for sample, score in self.kept]
        write_text(self.folder / FILE, json.dumps(told), mode=0o600)  # metadata may hold what is no text
