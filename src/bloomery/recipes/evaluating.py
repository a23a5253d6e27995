"""What a person sees while a model is evaluated: a line about every ten seconds, with the suite and its rows done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bloomery.recipes.playing import player

if TYPE_CHECKING:
    from bloomery.evals.results import EvalResult
    from bloomery.evals.suites import Suite
    from bloomery.models.load import Loaded
    from bloomery.recipes.judges import Judges

SECONDS = 10.0
"""Least time between two lines, and before the first."""


class Evaluating:
    """How far the evaluation of one model is. `suites` is how many there are."""

    def __init__(self, model: str, suites: int, say: Callable[[str], None]) -> None:
        self._model, self._suites, self._say = model, suites, say
        self._suite, self._number, self._said = "", 0, time.monotonic()

    def begun(self, suite: str) -> None:
        """The next suite begins."""
        self._suite, self._number = suite, self._number + 1

    def rows(self, done: int, of: int) -> None:
        """So many rows are answered or scored, of those that the engine was given at once."""
        if time.monotonic() - self._said >= SECONDS:
            self._said = time.monotonic()
            where = f"suite {self._number} of {self._suites}, {self._suite}"
            self._say(f"evaluating {self._model}: {where}: {done:,} of {of:,} rows")


def evaluated(
    loaded: Loaded, suites: Sequence[Suite], judges: Judges, model: str, say: Callable[[str], None], **given: Any
) -> EvalResult:
    """A model on suites, as `evals.runner.evaluate` has it with what else is `given`; `say` hears how far that is."""
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.runner import evaluate

    engine, shows = NativeEngine(loaded), Evaluating(model, len(suites), say)
    engine.told = shows.rows
    judging, play = judges.measuring(loaded, engine, suites), player(loaded, say)
    return evaluate(
        engine, loaded.tokenizer, suites, model=model, judging=judging, play=play, begun=shows.begun, **given
    )
