"""The verb `merge`: several models into one, or a LoRA adapter into its base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bloomery.core.errors import InputError, Where
from bloomery.core.files import verify_ours
from bloomery.families.registry import load_family
from bloomery.lineage.card import CardFacts, model_card
from bloomery.lineage.parents import about_made, public_name
from bloomery.lineage.provenance import Start, versions
from bloomery.recipes.find import Found, find_model
from bloomery.recipes.plan import Plan
from bloomery.recipes.start import RUNS

UNPROVEN = "A merge is not trained: whether it kept what its models know is only known where it was measured."


def merge(models: Sequence[str], folder: Path, *, by: str, strength: float, base: str | None = None) -> Path:
    """Merge models of one architecture and vocabulary by a rule of `models/merge_rules.py`. `folder` must not exist.

    Raises `InputError` for models that do not fit each other, naming key, token or tensor.
    """
    from bloomery.models.merge import merge_models
    from bloomery.models.merge_rules import Merge

    rule = Merge(by, strength)
    rule.check_models(len(models), base is not None)
    found = [find_model(name) for name in [*models, *([base] if base else [])]]
    for one in found:
        if one.scaffold:
            raise InputError(f"`{one.name}` is empty: it has no weights to merge", fix="name a trained model")
    how = f"{by}, strength {strength:g}"
    family, stage = _place(found[0])
    starts = [Start.of_folder(one.run.name if one.run else one.name, one.folder) for one in found]
    places = [one.folder for one in found]
    merge_models(
        places[: len(models)],
        folder,
        rule,
        base=places[-1] if base else None,
        card=card_of(folder.name, how, [one.name for one in found], family),
        about=about_made(how, starts, family, stage),
    )
    return folder


def card_of(name: str, how: str, parents: Sequence[str], family: str | None) -> str:
    """The card of a merged model: its parents, the base last, and that nothing is proven by merging."""
    named = [public_name(parent) for parent in parents]
    facts = CardFacts(
        name=name,
        licence=load_family(family).file.licence if family else "unknown",
        base_model=named[0],
        ancestry=named,
        blend=(),
        measures=(),
        training={"merged by": how},
        versions=versions(),
        limits=[UNPROVEN],
        parents=named,
        tags=("bloomery", "merge"),
    )
    return model_card(facts)


def _place(first: Found) -> tuple[str | None, str | None]:
    """The family, and the stage of it whose place a merge takes: that of the first model."""
    if first.family is None:
        return None, None
    if first.run is None:
        _, _, stage = first.name.partition("/")
        return first.family, stage if stage in load_family(first.family).file.checkpoints else None
    plan = Plan.read(first.run.plan)
    family, _, stage = str(plan.get("start.ref")).partition("/")
    return first.family, stage if plan.get("start.kind") == "checkpoint" and family == first.family else None


def merge_adapter(run_name: str, folder: Path) -> Path:
    """Merge a run's LoRA adapter into its base model. `folder` must not exist."""
    from bloomery.models.export import export_model
    from bloomery.models.load import load_model
    from bloomery.models.lora import load_lora, merge_lora

    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    run = next((p for p in (RUNS / run_name, Path(run_name)) if (p / "adapter").is_dir()), None)
    if run is None:
        raise InputError(
            f"`{run_name}` is no run with an adapter",
            fix="train one with `method: lora`, or name two models and how to merge them by --by",
        )
    start = Path(Plan.read(run / "plan.json").get("start.folder"))
    for place in (start, run / "adapter"):
        verify_ours(place)
    loaded = load_model(start)
    load_lora(loaded.model, run / "adapter")
    merge_lora(loaded.model)
    export_model(loaded, folder)
    return folder
