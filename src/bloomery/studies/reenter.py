"""Re-entry: from a run that began at an early stage back to the family's later one, by several ways on one scale.

    read_reentry -> evaluate the run and the published checkpoint -> make and evaluate each candidate
        -> the Pareto front, and the candidate that is kept

Candidates are scored on the same rows; a score is found again by the weights it is of, so that a queue that was
stopped goes on. A merge is made, scored and removed: the one that is kept is made again, to the same bytes.
"""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import BloomeryError, DamagedError, InputError, Where
from bloomery.core.files import MANIFEST, building_folder, canonical_hash, lock, read_json, write_json
from bloomery.lineage.parents import QUEUE, about_made
from bloomery.lineage.provenance import Start, model_hash
from bloomery.recipes.checks import refuse
from bloomery.recipes.evaluating import evaluated
from bloomery.recipes.explain import explain
from bloomery.recipes.find import find_model
from bloomery.recipes.start import RUNS
from bloomery.studies.front import Standing, standing
from bloomery.studies.reentry import REANNEAL, Candidate, Reentry

if TYPE_CHECKING:
    from bloomery.evals.results import EvalResult
    from bloomery.evals.suites import Suite
    from bloomery.studies.reenter_report import ReenterResult

Say = Callable[[str], None]

ROWS, GRADED_ROWS = 300, 100
"""Most rows of a suite that a candidate is scored on, evenly spaced; fewer where answers are generated, which is what
takes the time. A score of 100 answers is known to ten points either way at worst (binomial, 95 %)."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where candidates are made and scored, and on what; `parents` are the hashes of what is merged."""

    reentry: Reentry
    folder: Path
    suites: list[Suite]
    parents: tuple[str, ...]
    say: Say

    def score(self, name: str, weights: Any, model: Callable[[], Path]) -> EvalResult:
        """The evaluation of some weights, read back where there is one; `model` gives their folder where it is not."""
        from bloomery.evals.results import load_result

        key = canonical_hash({"weights": weights, "suites": _identity(self.suites)})
        place = self.folder / "eval" / key[:16]
        try:
            return replace(load_result(place), model=name)
        except DamagedError:
            self.say(f"evaluating {name}")
        return _evaluate(model(), self.suites, place, name, self.say)


def run_reentry(reentry: Reentry, name: str | None = None, root: Path = RUNS, *, quiet: bool = False) -> ReenterResult:
    """Try every candidate, and keep the winner as `root/NAME.reenter/model`, with report and table beside it.

    What is there already stays: an interrupted or failed re-anneal is resumed. A re-anneal that stops itself is noted,
    an interrupted one ends the queue. Raises `InputError` where one of that name asked for something else before.
    """
    from bloomery.studies.reenter_report import result_of

    folder = root / f"{name or reentry.run.name}{QUEUE}"
    say: Say = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    _same_as_before(reentry, folder)
    _refuse_reanneal(reentry, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / ".lock", f"re-entry `{folder.name}`"):
        write_json(folder / "reenter.json", reentry.asked())
        later, start = (find_model(f"{reentry.family.name}/{stage}").folder for stage in (reentry.to, reentry.start))
        hashes = tuple(model_hash(one) for one in (later, reentry.run.model, start))
        bench = Bench(reentry, folder, _suites(reentry, say), hashes, say)
        reference = bench.score(reentry.later, hashes[0], lambda: later)
        trained = bench.score(reentry.run.name, hashes[1], lambda: reentry.run.model)
        found, status = [_stand(reference, reference, True), _stand(reference, trained, True)], ""
        results = {}
        for one in reentry.candidates():
            result, status = _try(bench, one, quiet)
            if result is not None:
                results[one.name] = result
                found.append(_stand(reference, result))
            result_of(reentry, folder, found, status, results).write()
            if status == "interrupted":
                break
        made = result_of(reentry, folder, found, status, results)
        if made.winner and not made.interrupted:
            _publish(bench, next(c for c in reentry.candidates() if c.name == made.winner.name))
        return made


def _refuse_reanneal(reentry: Reentry, folder: Path) -> None:
    """What the re-anneal's own recipe would be refused for, before anything is scored."""
    if not any(one.by == REANNEAL for one in reentry.candidates()) or (folder / REANNEAL).exists():
        return
    try:
        refuse(explain(reentry.recipe(), place=folder).problems)
    except InputError as error:
        fix = f"give the re-anneal another `--budget`; of its recipe: {error.fix}"
        raise InputError(f"the re-anneal: {error.message}", where=error.where, fix=fix) from None


def _stand(reference: EvalResult, result: EvalResult, baseline: bool = False) -> Standing:
    from bloomery.evals.compare import compare

    return standing(result.model, compare(reference, result), baseline)


def _try(bench: Bench, one: Candidate, quiet: bool) -> tuple[EvalResult | None, str]:
    """The candidate's score, and how its making ended where that was not well."""
    if one.by == REANNEAL:
        status = _reanneal(bench, quiet)
        if status in ("failed", "interrupted"):
            return None, status
        model = bench.folder / REANNEAL / "model"
        return bench.score(one.name, model_hash(model), lambda: model), ""
    place = bench.folder / "merges" / one.name.replace(" ", "-")
    try:
        return bench.score(one.name, [one.by, one.strength, *bench.parents], lambda: _merge(bench, one, place)), ""
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _merge(bench: Bench, one: Candidate, place: Path) -> Path:
    """The trained model merged into the published later one."""
    from bloomery.models.merge_rules import WITH_BASE
    from bloomery.recipes.merge import merge

    reentry = bench.reentry
    base = f"{reentry.family.name}/{reentry.start}" if one.by in WITH_BASE else None
    shutil.rmtree(place, ignore_errors=True)
    return merge([reentry.later, str(reentry.run.path)], place, by=one.by, strength=one.strength, base=base)


def _reanneal(bench: Bench, quiet: bool) -> str:
    """Train what is left of the re-anneal; how it ended."""
    from bloomery.recipes.run import resume, run

    place = bench.folder / REANNEAL
    try:
        if (place / "model").is_dir():
            return "done"
        if (place / "recipe.yaml").is_file():
            return resume(str(place), quiet=quiet).status
        return run(bench.reentry.recipe(), folder=place, quiet=quiet).status
    except BloomeryError as error:
        bench.say(f"the re-anneal stopped: {error}")
        return "failed"


def _publish(bench: Bench, one: Candidate) -> None:
    """The winner as an ordinary model folder that names its parents and the stage whose place it takes."""
    target, reentry = bench.folder / "model", bench.reentry
    if target.exists():
        return
    if one.by != REANNEAL:
        _merge(bench, one, target)
        return
    source = bench.folder / REANNEAL / "model"
    starts = [Start.of_folder(reentry.run.name, reentry.run.model)]
    with building_folder(
        target, {"kind": "model", **about_made(REANNEAL, starts, reentry.family.name, reentry.to)}
    ) as building:
        for path in source.iterdir():
            if path.name != MANIFEST:
                shutil.copyfile(path, building / path.name)


def _suites(reentry: Reentry, say: Say) -> list[Suite]:
    """The run's held-out domain rows and the family's suites for the later stage, thinned."""
    from bloomery.recipes.judging import domain_suites
    from bloomery.recipes.measuring import suites_of
    from bloomery.recipes.prepare import prepare

    held = prepare(reentry.plan, reentry.run.path, say).held
    stage = reentry.family.checkpoint(reentry.to).stage
    found = [*domain_suites(reentry.plan, held), *suites_of(reentry.family.name, stage, None)]
    if not any(suite.group == "domain" for suite in found):
        fix = "run it again with `data.domain`, of which some is held out, or with `eval: FILE`"
        raise InputError(
            f"the run `{reentry.run.name}` has no held-out domain rows to choose by",
            where=Where(reentry.run.path),
            fix=fix,
        )
    return [_thinned(suite) for suite in found]


def _thinned(suite: Suite) -> Suite:
    rows, most = suite.load_rows(), GRADED_ROWS if suite.kind == "generate" else ROWS
    if len(rows) <= most:
        return replace(suite, rows=rows)
    return replace(suite, rows=[rows[k * len(rows) // most] for k in range(most)])


def _identity(suites: list[Suite]) -> list[Any]:
    """What a score depends on beside the weights."""
    return [[suite.name, suite.kind, canonical_hash([dict(row) for row in suite.load_rows()])] for suite in suites]


def _evaluate(model: Path, suites: list[Suite], place: Path, name: str, say: Say) -> EvalResult:
    from bloomery.models.load import load_model
    from bloomery.recipes.judges import Judges
    from bloomery.train.parallel import pick_device

    loaded = load_model(model, device=str(pick_device()), check=False)
    result = evaluated(loaded, suites, Judges(), name, say, out=place)
    del loaded
    gc.collect()
    return result


def _same_as_before(reentry: Reentry, folder: Path) -> None:
    file = folder / "reenter.json"
    if file.is_file() and read_json(file) != reentry.asked():
        raise InputError(
            f"the re-entry `{folder.name}` asked for something else before",
            where=Where(file),
            fix="give this one another name by `--name`",
        )
