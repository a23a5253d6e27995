"""A run's model, or another, as a GGUF file beside its card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import building_folder, write_json, write_text
from bloomery.families.registry import load_family
from bloomery.lineage.card import model_card
from bloomery.lineage.parents import public_name
from bloomery.recipes.find import Found, find_model
from bloomery.recipes.plan import Plan
from bloomery.recipes.publish import card_facts

if TYPE_CHECKING:
    from bloomery.models.gguf import About
    from bloomery.models.gguf_check import Compared


def export_file(model: str, folder: Path, kind: str) -> tuple[Path, Compared]:
    """Write `folder` with the model as one GGUF file of this kind, its card, and how it compares with the model.

    Raises `InputError` where the folder exists, or the model is none that llama.cpp has; `DamagedError`, with nothing
    left behind, where the file answers otherwise than the model.
    """
    from bloomery.models.gguf import check_kind, export_gguf, require_gguf

    check_kind(kind)
    require_gguf()
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    found = find_model(model)
    if found.scaffold:
        raise InputError(f"`{model}` has no weights to export", fix="train it first")
    about, card = _about(found)
    with building_folder(folder, {"kind": "gguf", "of": about.name}) as building:
        path = building / f"{about.name.replace('/', '-')}-{kind}.gguf"
        compared = export_gguf(found.folder, path, kind, about)
        write_json(building / "compared.json", {**asdict(compared), "perplexity_change": compared.perplexity_change})
        if card:
            write_text(building / "README.md", card)
    return folder / path.name, compared


def _about(found: Found) -> tuple[About, str]:
    """What the file says of the model, and the card of a run."""
    from bloomery.models.gguf import About

    if found.run is not None:
        facts = card_facts(found.run, Plan.read(found.run.plan))
        return About(facts.name, facts.licence, tuple(facts.ancestry) or (facts.base_model,)), model_card(facts)
    family: Any = load_family(found.family) if found.family else None
    return About(public_name(found.name), family.file.licence if family else ""), ""
