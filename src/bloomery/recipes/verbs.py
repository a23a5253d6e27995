"""Verbs about models and runs that are no training: eval, compare, ask, export, data show."""

from __future__ import annotations

import html
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import verify_ours
from bloomery.families.registry import load_family
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.data_section import absolute
from bloomery.recipes.find import Found, find_model
from bloomery.recipes.held_rows import own_suites
from bloomery.recipes.load import load_recipe
from bloomery.recipes.plan import Plan
from bloomery.recipes.publish import publish_model
from bloomery.recipes.ready import resolved
from bloomery.recipes.start import RUNS, read_config
from bloomery.recipes.suites import chosen, with_rows

if TYPE_CHECKING:
    from bloomery.evals.bootstrap import Interval
    from bloomery.evals.compare import Change, Comparison
    from bloomery.evals.results import EvalResult
    from bloomery.evals.suites import Suite
    from bloomery.evals.ungraded import Ungraded
    from bloomery.models.load import Loaded as LoadedModel


def evaluate(
    model: str, *, data: Sequence[Path] = (), suites: Sequence[str] | None = None, family: str | None = None
) -> Evaluation:
    """Score one model on its family's suites and on rows of the user's own."""
    from bloomery.evals.ungraded import ungraded

    found = find_model(model)
    asked = suites_of(family or found.family, found.stage, suites) + own_suites(data)
    if not asked:
        raise InputError(f"there is nothing to measure `{model}` on", fix="give rows with --data, or a --family")
    result = _evaluate(found, asked)
    return Evaluation(result, ungraded([result]))


def compare(before: str, after: str, *, data: Sequence[Path] = ()) -> Compared:
    """Score two models on the same rows and say what the second gained and lost."""
    from bloomery.evals.compare import compare as against
    from bloomery.evals.ungraded import ungraded

    one, other = find_model(before), find_model(after)
    asked = suites_of(other.family or one.family, other.stage, None) + own_suites(data)
    if not asked:
        raise InputError("there is nothing to compare the two on", fix="give rows with --data")
    one = _as_in(one, other)
    results = [_evaluate(found, asked) for found in (one, other)]
    return Compared(against(*results), ungraded(results))


def _as_in(before: Found, after: Found) -> Found:
    """A scaffold with the weights that a run drew from it."""
    if not before.scaffold or after.run is None:
        return before
    plan = Plan.read(after.run.plan)
    return replace(before, seed=plan.get("seeds")[0]) if plan.get("start.ref") == before.name else before


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model, printable."""

    result: EvalResult
    ungraded: tuple[Ungraded, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row."""
        return self.result.figures()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        lines = [f"{self.result.model}"]
        for suite in self.result.suites.values():
            unit = "bits per byte" if suite.kind == "bpb" else f"of {len(suite.records)}"
            shown = f"{suite.value:.4f}" if suite.kind == "bpb" else f"{suite.value:.1%}"
            lines.append(f"  {suite.name:28} {'-' if math.isnan(suite.value) else shown:>8} {unit}")
        return "\n".join([*lines, *(f"  {one.said()}" for one in self.ungraded)])


@dataclass(frozen=True, slots=True)
class Compared:
    """What the second model gained and lost, printable."""

    comparison: Comparison
    ungraded: tuple[Ungraded, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row."""
        return {name: _told(change) for name, change in self.comparison.groups.items()}

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
        lines += [f"  {one.said()}" for one in self.ungraded]
        return "\n".join(lines)


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


def _bounds(interval: Interval) -> dict[str, float | None]:
    """An interval as strict JSON: null where too few documents give no bounds."""
    found = asdict(interval)
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def ask(model: str, prompt: str, *, max_new_tokens: int = 128, temperature: float = 0.0, seed: int = 0) -> str:
    """One answer. Raises `InputError` for an empty prompt or one longer than the context."""
    from bloomery.engine.native import NativeEngine
    from bloomery.engine.protocol import Sampling
    from bloomery.evals.prompts import Prompter

    if not prompt.strip():
        raise InputError("the prompt is empty", fix="ask something")
    loaded = opened(find_model(model))
    ids = Prompter(loaded.tokenizer, "auto").prompt([{"role": "user", "content": prompt}])
    [answer] = NativeEngine(loaded).generate([ids], Sampling(max_new_tokens, temperature, seed=seed))
    text: str = loaded.tokenizer.decode(answer.body, skip_special_tokens=True)
    return text.strip()


def export(run: str, folder: Path) -> Path:
    """Write a run's model as a Hugging Face folder with its card. `folder` must not exist."""
    found = find_model(run)
    if found.run is None:
        raise InputError(f"`{run}` is a model folder already", fix="copy it")
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    return publish_model(found.run, Plan.read(found.run.plan), folder)


def show_batch(of: str, overrides: Sequence[str] = (), *, step: int = 0, rows: int = 8) -> None:
    """Print rows of one step's batch, trained tokens marked."""
    from rich.console import Console

    from bloomery.data.show import show_step
    from bloomery.recipes.prepare import prepare

    place = next((p for p in (RUNS / of, Path(of)) if (p / "plan.json").is_file()), None)
    plan = Plan.read(place / "plan.json") if place else resolved(load_recipe(of, overrides), lambda text: None)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(plan, Path(folder), lambda text: None)
        if step >= prepared.plan.arm().steps:
            raise InputError(
                f"the run has {prepared.plan.arm().steps} steps, there is no step {step}", fix="change --step"
            )
        source = prepared.source("blend", prepared.plan.get("seeds")[0])
        tokenizer = Path(prepared.plan.get("start.tokenizer"))
        show_step(source.blend, prepared.drawn, step, tokenizer, Console(), rows)


def _evaluate(found: Found, suites: list[Suite]) -> EvalResult:
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.runner import evaluate as score

    loaded = opened(found)
    return score(NativeEngine(loaded), loaded.tokenizer, suites, model=found.name)


def opened(found: Found) -> LoadedModel:
    """The model, its bytes verified, on a GPU where there is one."""
    from bloomery.models.load import load_model, load_tokenizer, new_model
    from bloomery.train.parallel import pick_device

    device = str(pick_device())
    verify_ours(found.folder)
    if not found.scaffold:
        return load_model(found.folder, device=device)
    loaded = new_model(read_config(found.folder), found.seed, device=device)
    loaded.tokenizer = load_tokenizer(str(found.tokenizer))
    return loaded


def suites_of(family: str | None, stage: str, names: Sequence[str] | None) -> list[Suite]:
    """A family's suites by name, or all that suit the stage, their rows in files."""
    from bloomery.recipes.judging import family_suites

    known = load_family(family) if family else None
    base = known.folder if known else Path()
    described = [
        {**absolute(suite.model_dump(), base), "grader": suite.grader and absolute(suite.grader, base)}
        for suite in chosen(known, stage, names or None)
    ]
    return family_suites(with_rows(suite, cache_dir() / "suites") for suite in described)
