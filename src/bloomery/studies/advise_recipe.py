"""The advice as a recipe: short YAML whose comments say why, checked as `bloomery explain` checks it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.yaml import load_yaml
from bloomery.recipes.explain import Explanation, explain
from bloomery.recipes.load import Loaded, recipe_from

TEMPLATE = """\
# What this run would do:  bloomery explain {here}
family: {family}
start: {start}  # {start_why}
method: {method}  # {method_why}
data:
  domain:
{domain}
{blend}budget: {epochs:g} epochs  # {epochs_why}
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the advice settled on, each with its reason. `share` and `keep` are None where there is no general data."""

    family: str
    start: tuple[str, str]
    method: tuple[str, str]
    share: tuple[float, str] | None
    epochs: tuple[float, str]
    keep: float | None


def recipe_text(choice: Choice, sources: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """The YAML of a recipe that will lie in `folder`."""
    blend = ""
    if choice.share is not None:
        blend += f"  share: {100 * choice.share[0]:g}%  # {_line(choice.share[1])}\n"
    if choice.keep is not None:
        blend += f"keep: {{general: {100 * choice.keep:g}%}}  # the run fails (status 3) when more is forgotten\n"
    return TEMPLATE.format(
        here="recipe.yaml",
        family=choice.family,
        start=choice.start[0],
        start_why=_line(choice.start[1]),
        method=choice.method[0],
        method_why=_line(choice.method[1]),
        domain="\n".join(f"    - {_source(source, folder)}" for source in sources),
        blend=blend,
        epochs=choice.epochs[0],
        epochs_why=_line(choice.epochs[1]),
    )


def checked(text: str, folder: Path) -> tuple[Loaded, Explanation]:
    """The recipe as a run in `folder` would read it, and what it would do."""
    loaded = recipe_from(load_yaml(text, "advice")[0], base=folder.resolve())
    return loaded, explain(loaded)


def _source(source: Mapping[str, Any], folder: Path) -> str:
    if "builtin" in source:
        return f"{{builtin: {source['builtin']}}}"
    path = Path(str(source["path"])).expanduser()
    told = str(path) if path.is_absolute() else os.path.relpath(path, folder)
    columns = ", ".join(f"{role}: {_quoted(name)}" for role, name in source.get("columns", {}).items())
    more = f", columns: {{{columns}}}" if columns else ""
    more += f", bad_rows: {source['bad_rows']}" if "bad_rows" in source else ""
    return f"{{path: {_quoted(told)}{more}}}"


def _quoted(text: str) -> str:
    """A YAML string in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def _line(text: str) -> str:
    """A comment of one line."""
    return " ".join(text.split())
