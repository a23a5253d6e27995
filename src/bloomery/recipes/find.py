"""Which model a person means: a run, a model folder, or a stage of a family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError, Where
from bloomery.families.registry import family_files, load_family
from bloomery.lineage.parents import read_made
from bloomery.lineage.rundir import RunFolder
from bloomery.models.hub import fetch
from bloomery.recipes.plan import Plan
from bloomery.recipes.start import RUNS, from_family, made_folder


@dataclass(frozen=True, slots=True)
class Found:
    """A model by the name a person gave it; `family` is the one whose suites suit it, if any.

    A scaffold has a configuration only: its weights are drawn under `seed`, as a run draws them, and its `tokenizer`
    lies elsewhere.
    """

    name: str
    folder: Path
    family: str | None
    stage: str
    run: RunFolder | None = None
    scaffold: bool = False
    seed: int = 0
    tokenizer: str | None = None


def find_model(name: str, fetched: bool = True) -> Found:
    """A run (name or folder), FAMILY/STAGE, FAMILY for its newest stage, or a model folder.

    A checkpoint on the Hub is fetched, or without `fetched` has a folder that is not there, called like its repository.
    Raises `InputError` naming what was tried.
    """
    for place in (RUNS / name, Path(name)):
        if (place / "recipe.yaml").is_file():
            return _of_run(name, RunFolder.open(place))
    if folder := made_folder(name):
        made = read_made(folder)
        return Found(name, folder, made.family if made else None, "post")
    family, _, stage = name.partition("/")
    if not stage and family in family_files():
        stage = list(load_family(family).file.checkpoints)[-1]
    if stage and not Path(name).exists():
        start = from_family(load_family(family), stage)
        if start.folder:
            lies = Path(start.folder)
        else:
            lies = fetch(str(start.repo), start.revision) if fetched else Path(str(start.repo))
        scaffold = start.kind == "scaffold"
        return Found(name, lies, family, start.stage, scaffold=scaffold, tokenizer=start.tokenizer)
    raise InputError(
        f"`{name}` is no run, no model folder and no FAMILY/STAGE",
        fix="see `bloomery models` and `bloomery families list`",
    )


def _of_run(name: str, run: RunFolder) -> Found:
    folder = next((place for place in (run.model, run.path / "weights") if place.is_dir()), None)
    if folder is None:
        raise InputError(f"the run `{name}` has no model yet", where=Where(run.path), fix=f"bloomery resume {name}")
    plan = Plan.read(run.plan)
    stage = "post" if plan.get("objective") != "text" else plan.get("start.stage")
    return Found(name, folder, plan.get("family"), stage, run)
