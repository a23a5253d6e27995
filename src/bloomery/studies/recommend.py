"""A recipe with the blend that a study found: as a checked recipe, and as a file ready to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bloomery.core.files import write_text
from bloomery.core.yaml import dump_yaml
from bloomery.recipes.data_section import Curated
from bloomery.recipes.load import COMMAND_LINE, Loaded, with_changes
from bloomery.studies.categories import Weights


def changed_recipe(loaded: Loaded, share: float, weights: Weights | None) -> Loaded:
    """The recipe with another domain share and other parts of the curated text."""
    return with_changes(loaded, _changes(loaded, share, weights))


def write_recipe(loaded: Loaded, path: Path, share: float, weights: Weights | None) -> Path:
    """Write a recipe that extends the studied one; where that had overrides, the whole of it."""
    changes = _changes(loaded, share, weights)
    if loaded.path is not None and not _overridden(loaded):
        text = dump_yaml({"extends": str(loaded.path.resolve()), "data": changes["data"]})
    else:
        text = with_changes(loaded, changes).text()
    write_text(path, f"# The blend that `bloomery tune` found; how, stands in report.html beside this file.\n{text}")
    return path


def curated_of(loaded: Loaded, weights: Weights, text: bool = False) -> Any:
    """`data.curated` with these parts, in the form that the recipe has; as text for a `key=value` override."""
    parts = {name: f"{100 * weight:.1f}%" for name, weight in weights.items()}
    written = loaded.data.get("data", {}).get("curated")
    short = isinstance(written, Mapping) and not set(written) & set(Curated.model_fields)
    found = parts if short else {"mix": loaded.recipe.data.curated.mix, "categories": parts}
    return json.dumps(found) if text else found


def _changes(loaded: Loaded, share: float, weights: Weights | None) -> dict[str, Any]:
    data: dict[str, Any] = {"share": f"{100 * share:g}%"}
    if weights is not None:
        data["curated"] = curated_of(loaded, weights)
    return {"data": data}


def _overridden(loaded: Loaded) -> bool:
    return any(place.path == COMMAND_LINE for place in loaded.where.values())
