"""A run's evaluations: every model on the same suites, each kept under `eval/`, and their answers beside each other."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bloomery.core.errors import DamagedError
from bloomery.core.files import write_text
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.evaluating import evaluated
from bloomery.recipes.judges import Judges

if TYPE_CHECKING:
    from bloomery.evals.beside import Standings
    from bloomery.evals.results import EvalResult
    from bloomery.evals.suites import Suite
    from bloomery.models.load import Loaded

PAIRS = "pairs.jsonl"
"""Every pair of answers that was judged, with both texts; readable by its owner only."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The suites of a run and who judges them."""

    folder: RunFolder
    suites: list[Suite]
    say: Callable[[str], None]
    judges: Judges

    def result(self, name: str, shown: str, load: Callable[[], Loaded]) -> EvalResult:
        """The evaluation under `eval/NAME`, read back where it is whole, made where it is not."""
        from bloomery.evals.results import load_result

        place = self.folder.path / "eval" / name
        try:
            return load_result(place)
        except DamagedError:
            self.say(f"evaluating {shown}")
        found = evaluated(load(), self.suites, self.judges, shown, self.say, out=place, beside=True)
        self.judges.measured()
        gc.collect()
        return found

    def beside(self, found: dict[str, EvalResult]) -> tuple[dict[str, EvalResult], tuple[Standings, ...]]:
        """All of them, by their folders, with their suites of pairs judged; every pair goes to `eval/pairs.jsonl`."""
        from bloomery.evals.beside import side_by_side

        if not any(suite.kind == "pairwise" for suite in self.suites):
            return found, ()
        self.say("judging answers beside each other")
        place = self.folder.path / "eval"
        scored, tables, samples = side_by_side([*found.values()], self.suites, self.judges.given())
        for name, result in zip(found, scored, strict=True):
            result.save(place / name)
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in samples)
        write_text(place / PAIRS, "".join(lines), 0o600)
        return dict(zip(found, scored, strict=True)), tuple(tables)
