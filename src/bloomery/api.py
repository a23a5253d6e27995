"""The verbs as Python functions, with results that a notebook shows well.

    import bloomery
    bloomery.explain("demo")
    result = bloomery.run("demo", {"budget": "200k tokens", "name": "first"})
    bloomery.ask(result.name, "Write a tapline program: load the orders, then show the first 3.")

A recipe is a file, the name of a shipped one, or a dictionary of its keys; changes are given by dotted key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.recipes.load import Loaded, load_recipe, recipe_from
from bloomery.recipes.start import RUNS

if TYPE_CHECKING:
    from bloomery.lineage.index import ModelRecord
    from bloomery.lineage.listing import Listing
    from bloomery.lineage.record import RunRecord
    from bloomery.models.gguf_check import Compared as GgufCompared
    from bloomery.recipes.explain import Explanation
    from bloomery.recipes.measured import Compared, Evaluation, Ranked
    from bloomery.recipes.push import Pushed
    from bloomery.recipes.result import RunResult
    from bloomery.studies.advise import Advice

Recipe = str | Path | Mapping[str, Any]


def explain(recipe: Recipe, changes: Mapping[str, Any] | None = None) -> Explanation:
    """What a run would do: tokens and epochs of each source, steps, memory, disk, time, and every refusal."""
    from bloomery.recipes.explain import explain as look

    return look(_loaded(recipe, changes))


def advise(
    paths: str | Path | Sequence[str | Path],
    family: str = "ember",
    *,
    keep: float | None = 0.01,
    measure: bool = False,
    download: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Advice:
    """Where data should enter a family, how and with what blend, with reasons and a ready recipe.

    `keep` is the largest relative rise of general bits per byte, None for none. `measure` forks the stages in short
    runs; `download` allows weights to be fetched; `columns` names columns by role. Raises `InputError` for data that
    no run could read.
    """
    from bloomery.studies.advise import advise as look

    several = [paths] if isinstance(paths, str | Path) else paths
    return look([str(path) for path in several], family, keep=keep, measure=measure, download=download, columns=columns)


def run(
    recipe: Recipe, changes: Mapping[str, Any] | None = None, *, folder: Path | None = None, quiet: bool = False
) -> RunResult:
    """Train, evaluate and export as the recipe says. Raises `InputError` for everything that `explain` refuses."""
    from bloomery.recipes.run import run as start

    return start(_loaded(recipe, changes), folder=folder, quiet=quiet)


def resume(name: str, *, quiet: bool = False) -> RunResult:
    """Continue an interrupted run, by name or folder, where it stopped."""
    from bloomery.recipes.run import resume as again

    return again(name, quiet=quiet)


def evaluate(
    model: str,
    *,
    data: Sequence[str | Path] = (),
    suites: Sequence[str] | None = None,
    judge: str | Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure a run, a model folder or FAMILY/STAGE on suites by name, else its family's, and on rows of your own.

    `judge` is who judges where a grader asks a model: such a name as well, or a server: `{url, model, key}`.
    """
    from bloomery.recipes.measuring import Asked
    from bloomery.recipes.measuring import evaluate as measure

    return measure(model, Asked([Path(path) for path in data], suites, judge=judge))


def compare(
    before: str,
    after: str,
    *,
    data: Sequence[str | Path] = (),
    suites: Sequence[str] | None = None,
    judge: str | Mapping[str, Any] | None = None,
) -> Compared:
    """What `after` gained and lost against `before`, with intervals; suites of pairs are judged beside each other."""
    from bloomery.recipes.measuring import Asked
    from bloomery.recipes.measuring import compare as against

    return against(before, after, Asked([Path(path) for path in data], suites, judge=judge))


def rank(
    models: Sequence[str],
    *,
    judge: str | Mapping[str, Any] | None = None,
    data: Sequence[str | Path] = (),
    suites: Sequence[str] | None = None,
) -> Ranked:
    """How the answers of several models stand beside each other: a judge compares every two of them, in both orders."""
    from bloomery.recipes.measuring import Asked
    from bloomery.recipes.measuring import rank as beside

    return beside(models, Asked([Path(path) for path in data], suites, judge=judge))


def ask(model: str, prompt: str, *, max_new_tokens: int = 128, temperature: float = 0.0, seed: int = 0) -> str:
    """One answer of a run, a model folder or FAMILY/STAGE."""
    from bloomery.recipes.verbs import ask as question

    return question(model, prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)


def export(run: str, folder: str | Path) -> Path:
    """Write a run's model as a Hugging Face folder with its card."""
    from bloomery.recipes.verbs import export as publish

    return publish(run, Path(folder))


def export_gguf(model: str, folder: str | Path, *, kind: str = "q8_0") -> tuple[Path, GgufCompared]:
    """Write `folder` with a run, a model folder or FAMILY/STAGE as one GGUF file of `kind` (f16 or q8_0), and its card.

    Returns the file and how far it is from the model. Raises `InputError` where llama.cpp has no such model, and
    `DamagedError`, with nothing left behind, where the file answers otherwise than the model.
    """
    from bloomery.recipes.gguf import export_file

    return export_file(model, Path(folder), kind)


def push(run: str, to: str, *, token: str | None = None, update: bool = False, public: bool = False) -> Pushed:
    """Put a run's model with its card into the Hub repository `to` (`hf:owner/name`); a new one is private.

    `token` names the environment variable with the access token (None: HF_TOKEN), `update` allows a repository that
    is there. Raises `InputError` for what is no run, and for files that are no part of a model.
    """
    from bloomery.recipes.push import push as put

    return put(run, to, token=token, update=update, public=public)


def list_runs(root: Path = RUNS) -> Listing[RunRecord]:
    """All runs under `root`, newest first, read from their folders."""
    from bloomery.lineage.listing import list_runs as known

    return known(root)


def list_models(root: Path = RUNS) -> Listing[ModelRecord]:
    """All models under `root` with their ancestry. (`bloomery.models` is a package, so the name says `list`.)"""
    from bloomery.lineage.listing import list_models as known

    return known(root)


def _loaded(recipe: Recipe, changes: Mapping[str, Any] | None) -> Loaded:
    from bloomery.recipes.load import with_changes

    loaded = recipe_from(recipe) if isinstance(recipe, Mapping) else load_recipe(recipe)
    return with_changes(loaded, changes) if changes else loaded
