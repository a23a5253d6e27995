"""`eval` and `compare`: suites by name, one or two models on the same rows, and every figure with its interval."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.files import write_json
from bloomery.families.registry import load_family
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.find import Found, find_model
from bloomery.recipes.grading import refuse_graders
from bloomery.recipes.held_rows import own_suites
from bloomery.recipes.opening import opened
from bloomery.recipes.plan import Plan
from bloomery.recipes.responsible import RESPONSIBLE, of_files, of_model
from bloomery.recipes.suites import chosen, with_rows

if TYPE_CHECKING:
    from bloomery.core.intervals import Interval
    from bloomery.evals.compare import Change, Comparison
    from bloomery.evals.measures import Difference
    from bloomery.evals.results import EvalResult
    from bloomery.evals.suites import Suite
    from bloomery.evals.ungraded import Ungraded


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

    def __post_init__(self) -> None:
        if (self.trained is None) != (self.control is None):
            raise InputError("rows trained on say nothing without others like them", fix="give --trained and --control")
        if self.form not in ("bloomery", "lm-eval"):
            raise InputError(f"`--format {self.form}` is not bloomery or lm-eval", fix="change --format")
        if self.form == "lm-eval" and self.out is None:
            raise InputError("`--format lm-eval` is written to a folder", fix="add --out FOLDER")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"`--limit {self.limit}` leaves no row", fix="write 1 or more")


def evaluate(model: str, asked: Asked) -> Evaluation:
    """Score one model on suites by name, else its family's, and on rows of the user's own."""
    from bloomery.evals.ungraded import ungraded

    found = find_model(model)
    suites, said = _suites(asked, found)
    if not suites:
        raise InputError(f"there is nothing to measure `{model}` on", fix="give rows with --data, or a --family")
    result = _evaluate(found, suites, asked, asked.out)
    return Evaluation(result, ungraded([result]), said)


def compare(before: str, after: str, asked: Asked) -> Compared:
    """Score two models on the same rows and say what the second gained and lost."""
    from bloomery.evals.compare import compare as against
    from bloomery.evals.measures import differences
    from bloomery.evals.ungraded import ungraded

    one, other = find_model(before), find_model(after)
    suites, said = _suites(replace(asked, family=asked.family or other.family or one.family), other)
    if not suites:
        raise InputError("there is nothing to compare the two on", fix="give rows with --data")
    places = [asked.out / name if asked.out else None for name in ("before", "after")]
    models = (_as_in(one, other), other)
    results = [_evaluate(found, suites, asked, place) for found, place in zip(models, places, strict=True)]
    first, second = results
    done = Compared(against(first, second), ungraded(results), tuple(differences(first, second)), said)
    if asked.out:
        write_json(asked.out / "comparison.json", done.to_json())
    return done


def _as_in(before: Found, after: Found) -> Found:
    """A scaffold with the weights that a run drew from it."""
    if not before.scaffold or after.run is None:
        return before
    plan = Plan.read(after.run.plan)
    return replace(before, seed=plan.get("seeds")[0]) if plan.get("start.ref") == before.name else before


def _suites(asked: Asked, found: Found) -> tuple[list[Suite], tuple[str, ...]]:
    """What is measured, and what is said of what is not."""
    from bloomery.recipes.judging import family_suites

    suites = suites_of(asked.family or found.family, found.stage, asked.suites, asked.trusted)
    said: tuple[str, ...] = ()
    rows: dict[str, Any] | None
    if asked.trained and asked.control:
        rows = of_files(asked.trained, asked.control)
    else:
        rows = of_model(found) if RESPONSIBLE in (asked.suites or ()) else None
        if rows is None and RESPONSIBLE in (asked.suites or ()):
            said = ("extraction is not measured: what was trained on is not known; give --trained and --control",)
    suites += family_suites([rows]) if rows else []
    suites += own_suites(asked.data)
    return [
        replace(one, limit=min(asked.limit, one.limit or asked.limit)) if asked.limit else one for one in suites
    ], said


def _evaluate(found: Found, suites: list[Suite], asked: Asked, out: Path | None) -> EvalResult:
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.lm_format import write_lm_eval
    from bloomery.evals.runner import evaluate as score

    loaded = opened(found)
    own = out if asked.form == "bloomery" else None
    result = score(NativeEngine(loaded), loaded.tokenizer, suites, own, model=found.name, seed=asked.seed)
    if out is not None and asked.form == "lm-eval":
        write_lm_eval(result, out, asked.seed, asked.limit)
    return result


def suites_of(family: str | None, stage: str, names: Sequence[str] | None, trusted: bool = False) -> list[Suite]:
    """Suites by name, or all of the family's that suit the stage, their rows in files."""
    from bloomery.recipes.judging import family_suites

    described = chosen(load_family(family) if family else None, stage, names or None, trusted)
    refuse_graders(described)
    return family_suites(with_rows(suite, cache_dir() / "suites") for suite in described)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model, printable."""

    result: EvalResult
    ungraded: tuple[Ungraded, ...] = ()
    said: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row."""
        return self.result.figures()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        from bloomery.evals.measures import measures

        lines = [f"{self.result.model}"]
        for suite in self.result.suites.values():
            for number, one in enumerate(measures(suite)):
                name = f"  {suite.name:28}" if number == 0 else f"    {one.name:26}"
                unit = "bits per byte" if one.name == "bits_per_byte" else f"of {one.examples}"
                lines.append(f"{name} {_level(one.name, one.found.estimate)} {_range(one.name, one.found)} {unit}")
            if not any(record.score is not None for record in suite.records) and suite.kind not in ("bpb", "lm_eval"):
                lines.append(f"  {suite.name:28} {'-':>8}")
        return "\n".join([*lines, *(f"  {one.said()}" for one in self.ungraded), *(f"  {one}" for one in self.said)])


@dataclass(frozen=True, slots=True)
class Compared:
    """What the second model gained and lost, printable."""

    comparison: Comparison
    ungraded: tuple[Ungraded, ...] = ()
    differences: tuple[Difference, ...] = ()
    said: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row: changes by group, and under `figures` every single one."""
        groups = {name: _told(change) for name, change in self.comparison.groups.items()}
        return groups | {"figures": [_figure(one) for one in self.differences]}

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        lines = [f"{self.comparison.before} -> {self.comparison.after}"]
        for change in (*self.comparison.groups.values(), *self.comparison.changes):
            unit = "%" if change.kind == "bpb" else " points"
            low, mid, high = (100 * v for v in (change.change.low, change.change.estimate, change.change.high))
            sure = f"{low:+.2f} to {high:+.2f}" if math.isfinite(low) else "too few to tell"
            moved = f"{mid:+.2f}{unit} ({sure})"
            lines.append(f"  {change.name:28} {change.before:8.4f} {change.after:8.4f}  {moved}")
            if change.ledger is not None:
                lines.append(f"  {'':28} {_account(change)}")
        lines += _figures(self.differences)
        lines += [f"  {one.said()}" for one in self.ungraded]
        return "\n".join([*lines, *(f"  {one}" for one in self.said)])


def _figures(differences: Sequence[Difference]) -> list[str]:
    """Every figure beside the suites' own."""
    lines = []
    for one in differences:
        if one.name in ("score", "bits_per_byte"):
            continue
        told = f"{one.change.estimate:+.4f} {_range('', one.change)} p {one.p_value:.3f} {one.said}"
        lines.append(f"  {f'{one.suite}: {one.name}':44} {one.before:8.4f} {one.after:8.4f}  {told}")
    return ["figures of single suites", *lines] if lines else []


def _level(name: str, value: float) -> str:
    shares = ("score", "pass@", "exact_match", "acc", "mc", "f1")
    if not math.isfinite(value):
        return f"{'-':>8}"
    return f"{value:8.1%}" if name.startswith(shares) else f"{value:8.4f}"


def _range(name: str, found: Interval) -> str:
    if not math.isfinite(found.low):
        return "(too few to tell)"
    return f"({_level(name, found.low).strip()} to {_level(name, found.high).strip()})"


def _account(change: Change) -> str:
    """What became of every graded answer."""
    book = change.ledger
    assert book is not None
    moves = f"right to wrong {book.lost}, wrong to right {book.gained} (by chance {book.by_chance:.1f})"
    return f"{moves}, stayed right {book.stayed_right}, stayed wrong {book.stayed_wrong}, p {book.p_value:.3f}"


def _told(change: Change) -> dict[str, Any]:
    """A change as plain JSON, with its account where answers were graded."""
    found = {"before": change.before, "after": change.after, "change": _bounds(change.change)}
    return found if change.ledger is None else found | {"ledger": asdict(change.ledger)}


def _figure(one: Difference) -> dict[str, Any]:
    found = asdict(one) | {"change": _bounds(one.change), "said": one.said}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def _bounds(interval: Interval) -> dict[str, float | None]:
    """An interval as strict JSON: null where too few documents give no bounds."""
    found = asdict(interval)
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
