"""What a run starts from: a family's checkpoint, any model folder or Hub id, or a finished run."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bloomery.core.errors import InputError, Where
from bloomery.families.lr import plasticity
from bloomery.families.registry import PROXIES, Family, load_family
from bloomery.families.schema import Plasticity
from bloomery.lineage.parents import QUEUE, read_made
from bloomery.lineage.rundir import RunFolder
from bloomery.models.hub import cached, commit_of
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan

RUNS = Path("runs")
"""Where run folders lie, relative to the working folder."""


@dataclass(frozen=True, slots=True)
class Start:
    """The state of the weights a run begins with.

    `folder` is on this machine: for a Hub `repo` that of the Hub's cache, None before it is fetched; `revision` is the
    branch, tag or commit that was asked for, `commit` what it is in `folder`. `mix` names the family's
    curated mix that suits. `config` is the model's config.json, {} where it is not here. A `step` is what an earlier
    training of the same recipe will leave: its `folder` has the configuration, and other weights. `configuration` is
    the config.json of an empty model that the recipe describes.
    """

    ref: str
    kind: Literal["checkpoint", "scaffold", "run", "folder", "hub", "step"]
    stage: Literal["pre", "mid", "post"]
    folder: str | None = None
    repo: str | None = None
    revision: str | None = None
    plasticity: Plasticity = "cold"
    lr: float | None = None
    peak_lr: float | None = None
    sft_lr: float | None = None
    batch_tokens: int | None = None
    betas: tuple[float, float] | None = None
    tokens_seen: int = 0
    context: int | None = None
    tokenizer: str | None = None
    chat_template: str | None = None
    mix: str | None = None
    parameters: int | None = None
    commit: str | None = None
    configuration: dict[str, Any] | None = None

    def config(self) -> dict[str, Any]:
        """The model's config.json, {} for a model that is not on this machine or has none."""
        return self.configuration or (read_config(Path(self.folder)) if self.folder else {})


def read_config(folder: Path) -> dict[str, Any]:
    """The language model's part of a folder's config.json; {} where there is none."""
    config = whole_config(folder)
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def whole_config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json; {} where there is none. Raises `InputError` when it does not parse."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"is not a model configuration: {error}", where=Where(path)) from None
    if not isinstance(config, dict):
        raise InputError("is not a model configuration: it is no JSON object", where=Where(path))
    return config


def from_family(family: Family, stage: str) -> Start:
    """A family's checkpoint."""
    checkpoint = family.checkpoint(stage)
    revision = checkpoint.commit or checkpoint.revision
    fetched = cached(checkpoint.repo, revision) if checkpoint.repo else None
    folder = str(family.file_of(checkpoint.folder)) if checkpoint.folder else str(fetched) if fetched else None
    hub = family.file.tokenizer == "hub"
    template = family.file.chat_template
    return Start(
        ref=f"{family.name}/{stage}",
        kind="scaffold" if checkpoint.empty else "checkpoint",
        stage=checkpoint.stage,
        folder=folder,
        repo=checkpoint.repo,
        revision=revision,
        commit=commit_of(fetched) if fetched else None,
        plasticity=checkpoint.heat(),
        lr=checkpoint.saved_lr(),
        peak_lr=checkpoint.peak(),
        sft_lr=checkpoint.sft_lr,
        batch_tokens=checkpoint.batch_tokens,
        betas=checkpoint.betas,
        tokens_seen=checkpoint.tokens,
        context=checkpoint.context or family.file.context,
        tokenizer=(folder or checkpoint.repo) if hub else str(family.file_of(family.file.tokenizer)),
        chat_template=str(family.file_of(template)) if template else None,
        mix=family.mix_name(stage),
        parameters=family.file.parameters,
    )


def from_model(model: str, revision: str | None, base: Path, where: Where | None = None) -> Start:
    """A folder (relative to the recipe) or a Hub id; nothing is known of its schedule, so it counts as cold.

    Raises `InputError`, with `where` the model was named, for what is neither, and for a folder with a `revision`.
    """
    folder = next((p for p in (base / model, Path(model)) if p.is_dir()), None)
    if folder is None:
        if model.count("/") != 1 or model.startswith((".", "/", "~")):
            raise InputError(
                f"`model: {model}` is no folder here",
                where=where,
                fix="give a folder in Hugging Face format, or a Hub id",
            )
        found = cached(model, revision)
        if found is None:
            return Start(model, "hub", "pre", repo=model, revision=revision, tokenizer=model)
        return replace(_of_folder(model, found), kind="hub", repo=model, revision=revision, commit=commit_of(found))
    if revision:
        message = f"`revision: {revision}` belongs to a model on the Hub, and `model: {model}` is a folder here"
        raise InputError(message, where=where, fix="remove `revision`, or name a Hub id that is no folder here")
    return _of_folder(model, folder)


def _of_folder(model: str, folder: Path) -> Start:
    config = read_config(folder)
    if not config:
        raise InputError(f"`model: {model}` has no config.json", where=Where(folder), fix="give a Hugging Face folder")
    chat = (folder / "chat_template.jinja").is_file()
    place = str(folder.resolve())
    context = config.get("max_position_embeddings")
    return Start(model, "folder", "post" if chat else "pre", folder=place, context=context, tokenizer=place)


def from_run(name: str, family: Family | None, root: Path = RUNS) -> Start | None:
    """A finished run by name or folder; None when there is no such run. Its own plan says at which rate it ended."""
    folder = _run_folder(name, root)
    if folder is None:
        return None
    run = RunFolder.open(folder)
    if not run.model.is_dir():
        raise InputError(
            f"the run `{name}` has no model yet", where=Where(folder), fix=f"finish it: bloomery resume {name}"
        )
    place = str(run.model.resolve())
    return replace(_ended(Plan.read(run.plan), family), ref=name, kind="run", folder=place, tokenizer=place)


def _run_folder(name: str, root: Path = RUNS) -> Path | None:
    return next((p for p in (root / name, Path(name)) if (p / "recipe.yaml").is_file()), None)


def made_folder(name: str, root: Path = RUNS) -> Path | None:
    """A model folder by its path, or, by name, what a merge or a re-entry made under `root`; None for neither."""
    places = (place / "model" if place.name.endswith(QUEUE) else place for place in (root / name, Path(name)))
    return next((place for place in places if (place / "config.json").is_file()), None)


def from_made(name: str, family: Family | None, root: Path = RUNS) -> Start | None:
    """A model that was merged to take the place of one of the family's stages; None when `name` is none such.

    No learning rate led to it, so it counts as cold; batch, context and data are those of the stage.
    """
    folder = made_folder(name, root)
    made = read_made(folder) if folder else None
    if folder is None or made is None or family is None or (made.family, made.stage is None) != (family.name, False):
        return None
    place = str(folder.resolve())
    stage = replace(from_family(family, str(made.stage)), repo=None, revision=None, commit=None)
    return replace(stage, ref=name, kind="folder", folder=place, tokenizer=place, plasticity="cold", lr=None)


def family_of(loaded: Loaded) -> Family | None:
    """The family that a recipe names, or that the run or merge it starts from was made from; None for a bare model."""
    recipe = loaded.recipe
    name = recipe.family or (None if recipe.model or recipe.scaffold else _family_name(recipe.start))
    return load_family(name) if name else None


def _family_name(start: str) -> str | None:
    run = _run_folder(start)
    if run is not None and (run / "plan.json").is_file():
        name: str | None = Plan.read(run / "plan.json").get("family")
        return name
    made = read_made(folder) if (folder := made_folder(start)) else None
    return made.family if made else None


def left_by(plan: Plan, family: Family | None) -> Start:
    """What a training by this plan will leave: all that is known of it before it has run."""
    start, configuration = plan.section("start"), plan.section("start").get("configuration")
    return replace(
        _ended(plan, family), folder=start["folder"], tokenizer=start["tokenizer"], configuration=configuration
    )


def _ended(plan: Plan, family: Family | None) -> Start:
    """The state of weights at the end of a plan, but for where they lie."""
    lr, peak = _rates(plan)
    mix = plan.get("curated.mix")
    return Start(
        ref=plan.get("name"),
        kind="step",
        stage="post" if plan.get("objective") != "text" else plan.get("start.stage"),
        plasticity="cold" if lr is None or peak is None else plasticity(lr, peak),
        lr=lr,
        peak_lr=peak,
        sft_lr=plan.get("start.sft_lr"),
        batch_tokens=plan.get("optim.batch_tokens"),
        betas=plan.get("optim.betas"),
        tokens_seen=plan.get("start.tokens_seen") + plan.get("budget.tokens"),
        context=plan.get("context"),
        mix=mix if mix in PROXIES or (family and mix in family.mixes) else None,
        parameters=plan.get("start.parameters"),
    )


def start_of(plan: Plan) -> Start:
    """The start that a plan was made for."""
    return Start(context=plan.get("context"), mix=plan.get("curated.mix"), **plan.section("start"))


def _rates(plan: Plan) -> tuple[float | None, float | None]:
    """(rate that continued pre-training would go on at, its peak) after a run of this plan; None where not known.

    One of fine-tuning or preferences says nothing about pre-training: what follows re-warms, from the peak that was
    known before.
    """
    peak: float | None = plan.get("start.peak_lr")
    if plan.get("objective") != "text":
        return None, peak
    return final_lr(plan), peak or plan.get("schedule.lr")


def final_lr(plan: Plan) -> float:
    """The learning rate that a run of this plan ends at; a mean of weights counts as hot, as Marin's do."""
    held: float = plan.get("schedule.lr")
    end: float = plan.get("schedule.final")
    return held if plan.get("schedule.kind") == "constant" or plan.get("schedule.anneal_by") == "merge" else end


def named_start(loaded: Loaded, family: Family | None) -> Start:
    """The start that a recipe names beside `auto`: a stage of its family, or a run."""
    start = loaded.recipe.start
    if family and start in family.file.checkpoints:
        return from_family(family, start)
    found = from_run(start, family) or from_made(start, family)
    if found is not None:
        return found
    message, fix = (
        f"`start: {start}`: the recipe names no family",
        f"name a run, or a `family` that has a stage `{start}`",
    )
    try:
        if family:
            return from_family(family, start)
    except InputError as error:
        message, fix = error.message, str(error.fix)
    raise InputError(f"{message}, and there is no run `{start}` in ./{RUNS}", where=loaded.place("start"), fix=fix)
