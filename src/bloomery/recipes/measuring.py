"""`eval` and `compare`: suites by name, one or two models on the same rows, and every figure with its interval."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.files import write_json, write_text
from bloomery.families.registry import load_family
from bloomery.recipes.bench import PAIRS
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.evaluating import evaluated
from bloomery.recipes.find import Found, find_model
from bloomery.recipes.grading import refuse_graders
from bloomery.recipes.held_rows import own_pairs, own_suites
from bloomery.recipes.judges import Judge, Judges, judge_from, with_judge
from bloomery.recipes.measured import Compared, Evaluation, Ranked
from bloomery.recipes.opening import opened
from bloomery.recipes.plan import Plan
from bloomery.recipes.responsible import RESPONSIBLE, of_files, of_model
from bloomery.recipes.suites import chosen, with_rows

if TYPE_CHECKING:
    from bloomery.evals.beside import Standings
    from bloomery.evals.results import EvalResult
    from bloomery.evals.suites import Suite


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants measured; `trained` and `control` are rows for the suite that looks for training data."""

    data: Sequence[Path] = ()
    suites: Sequence[str] | None = None
    family: str | None = None
    trained: Path | None = None
    control: Path | None = None
    trusted: bool = False
    limit: int | None = None
    seed: int = 0
    out: Path | None = None
    form: str = "bloomery"
    """Form of what is written to `out`: `bloomery`, or `lm-eval` for the harness's result file and sample logs."""
    judge: Judge | None = None
    """Who judges where a grader asks a model and names none."""
    say: Callable[[str], None] = lambda text: None
    """Told how far it is, about every ten seconds."""

    def __post_init__(self) -> None:
        if (self.trained is None) != (self.control is None):
            raise InputError("rows trained on say nothing without others like them", fix="give --trained and --control")
        if self.form not in ("bloomery", "lm-eval"):
            raise InputError(f"`--format {self.form}` is not bloomery or lm-eval", fix="change --format")
        if self.form == "lm-eval" and self.out is None:
            raise InputError("`--format lm-eval` is written to a folder", fix="add --out FOLDER")
        object.__setattr__(self, "judge", judge_from(self.judge))
        if self.limit is not None and self.limit < 1:
            raise InputError(f"`--limit {self.limit}` leaves no row", fix="write 1 or more")


def evaluate(model: str, asked: Asked) -> Evaluation:
    """Score one model on suites by name, else its family's, and on rows of the user's own."""
    from bloomery.evals.judged import judged
    from bloomery.evals.ungraded import ungraded

    found = find_model(model)
    suites, said = _suites(asked, found)
    if not suites:
        raise InputError(f"there is nothing to measure `{model}` on", fix="give rows with --data, or a --family")
    result = measured(found, suites, asked, Judges())
    saved([result], [asked.out], asked)
    return Evaluation(result, ungraded([result]), (*said, *(one.said() for one in judged([result]))))


def compare(before: str, after: str, asked: Asked) -> Compared:
    """Score two models on the same rows and say what the second gained and lost; pairs are judged beside each other."""
    from bloomery.evals.compare import compare as against
    from bloomery.evals.judged import judged
    from bloomery.evals.measures import differences
    from bloomery.evals.ungraded import ungraded

    one, other = find_model(before), find_model(after)
    suites, said = _suites(replace(asked, family=asked.family or other.family or one.family), other)
    suites += own_pairs(asked.data, asked.judge, asked.limit)
    if not suites:
        raise InputError("there is nothing to compare the two on", fix="give rows with --data")
    places = [asked.out / name if asked.out else None for name in ("before", "after")]
    judges, models = Judges(), (_as_in(one, other), other)
    results = [measured(found, suites, asked, judges, beside=True) for found in models]
    saved(results, places, asked)
    results, tables = paired(results, suites, judges, asked.out)
    saved(results if tables else [], places if tables else [], asked)
    first, second = results
    said = (*said, *(one.said() for one in judged(results)))
    done = Compared(against(first, second), ungraded(results), tuple(differences(first, second)), said, tables)
    if asked.out:
        write_json(asked.out / "comparison.json", done.to_json())
    return done


def rank(models: Sequence[str], asked: Asked) -> Ranked:
    """Have three or more models answer suites of pairs, and a judge put every two answers beside each other."""
    from bloomery.evals.judged import judged
    from bloomery.evals.ungraded import ungraded

    found = [find_model(name) for name in models]
    suites = suites_of(asked.family, found[-1].stage, asked.suites, asked.trusted, asked.judge) if asked.suites else []
    if other := next((suite for suite in suites if suite.kind != "pairwise"), None):
        said = f"the suite `{other.name}` of `kind: {other.kind}` compares two models, and {len(models)} are named"
        raise InputError(said, fix="name two models, or suites of `kind: pairwise`")
    suites = _limited(suites + own_pairs(asked.data, asked.judge), asked.limit)
    if not suites:
        fix = "name a suite of `kind: pairwise` with --suite, or prompts with --data and who judges with --judge"
        raise InputError(f"there is nothing to put the answers of {len(models)} models beside each other on", fix=fix)
    judges, places = Judges(), [asked.out / _place(n, name) if asked.out else None for n, name in enumerate(models, 1)]
    results = []
    for one, place in zip(found, places, strict=True):
        results.append(measured(one, suites, asked, judges, beside=True))
        saved(results[-1:], [place], asked)
    results, tables = paired(results, suites, judges, asked.out)
    saved(results, places, asked)
    done = Ranked(tuple(results), tables, ungraded(results), tuple(one.said() for one in judged(results)))
    if asked.out:
        write_json(asked.out / "comparison.json", done.to_json())
    return done


def _place(number: int, name: str) -> str:
    """The folder of one of several models."""
    return f"{number}-{''.join(c if c.isalnum() else '-' for c in name).strip('-')[-60:]}"


def _limited(suites: Sequence[Suite], limit: int | None) -> list[Suite]:
    return [replace(one, limit=min(limit, one.limit or limit)) if limit else one for one in suites]


def _as_in(before: Found, after: Found) -> Found:
    """A scaffold with the weights that a run drew from it."""
    if not before.scaffold or after.run is None:
        return before
    plan = Plan.read(after.run.plan)
    return replace(before, seed=plan.get("seeds")[0]) if plan.get("start.ref") == before.name else before


def _suites(asked: Asked, found: Found) -> tuple[list[Suite], tuple[str, ...]]:
    """What is measured, and what is said of what is not."""
    from bloomery.recipes.judging import family_suites

    suites = suites_of(asked.family or found.family, found.stage, asked.suites, asked.trusted, asked.judge)
    said: tuple[str, ...] = ()
    rows: dict[str, Any] | None
    if asked.trained and asked.control:
        rows = of_files(asked.trained, asked.control)
    else:
        rows = of_model(found) if RESPONSIBLE in (asked.suites or ()) else None
        if rows is None and RESPONSIBLE in (asked.suites or ()):
            said = ("extraction is not measured: what was trained on is not known; give --trained and --control",)
    suites += family_suites([rows]) if rows else []
    suites += own_suites(asked.data, asked.judge is not None)
    return _limited(suites, asked.limit), said


def measured(found: Found, suites: list[Suite], asked: Asked, judges: Judges, beside: bool = False) -> EvalResult:
    """One model on suites; with `beside`, answers to suites of pairs are left to be judged beside those of others."""
    return evaluated(opened(found), suites, judges, found.name, asked.say, seed=asked.seed, beside=beside)


def paired(
    results: list[EvalResult], suites: list[Suite], judges: Judges, out: Path | None
) -> tuple[list[EvalResult], tuple[Standings, ...]]:
    """Results with their suites of pairs judged, and the standings; every pair goes to `out`, for its owner only."""
    from bloomery.evals.beside import side_by_side

    if not any(suite.kind == "pairwise" for suite in suites):
        return results, ()
    scored, tables, samples = side_by_side(results, suites, judges.given())
    if out is not None:
        write_text(out / PAIRS, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in samples), 0o600)
    return scored, tuple(tables)


def saved(results: Sequence[EvalResult], places: Sequence[Path | None], asked: Asked) -> None:
    """Write results where they were asked for, in the form that was."""
    from bloomery.evals.lm_format import write_lm_eval

    for result, place in zip(results, places, strict=True):
        if place is not None and asked.form == "lm-eval":
            write_lm_eval(result, place, asked.seed, asked.limit)
        elif place is not None:
            result.save(place)


def suites_of(
    family: str | None, stage: str, names: Sequence[str] | None, trusted: bool = False, judge: Judge | None = None
) -> list[Suite]:
    """Suites by name, or all of the family's that suit the stage, their rows in files."""
    from bloomery.recipes.judging import family_suites

    described = chosen(load_family(family) if family else None, stage, names or None, trusted)
    described = [{**one, "grader": one["grader"] and with_judge(one["grader"], judge)} for one in described]
    refuse_graders(described)
    return family_suites(with_rows(suite, cache_dir() / "suites") for suite in described)
