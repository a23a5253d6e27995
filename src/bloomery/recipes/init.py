"""`bloomery init`: five answers become a working recipe with comments."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError, Where
from bloomery.core.files import write_text
from bloomery.core.yaml import load_yaml
from bloomery.data.paths import expand
from bloomery.families.registry import family_files
from bloomery.recipes.load import recipe_from

FILE = "recipe.yaml"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, under the name of the flag that answers it."""

    key: str
    text: str
    default: str


QUESTIONS = (
    Question("family", "Which model? A family, or a folder or Hub id", "ember"),
    Question("data", "Your data? A file, folder or glob; `demo` for an invented company language", "demo"),
    Question("share", "Share of your data? The rest is general data, so that nothing is forgotten", "50%"),
    Question("budget", "How long? Tokens, steps or epochs of your data", "1 epoch"),
    Question("keep", "Largest rise in general bits per byte?", "1%"),
)

TEMPLATE = """\
# What this run would do:  bloomery explain {here}
# Every key there is:      bloomery schema
{model}
start: auto                 # which stage checkpoint: chosen by kind and volume of your data
data:
  domain:
{domain}
  share: {share}                # your tokens over all tokens
{curated}budget: {budget}             # {counts}
{keep}# eval: heldout.jsonl       # rows of your own to be judged by; left out, 2 % of the data are held out
# arms: [domain-only]       # trains a control without general data, to show what the blend is worth
"""

DEMO = "    - {builtin: workflow-manual}\n    - {builtin: workflow-pairs}"


def write_recipe(folder: Path, answers: Mapping[str, str]) -> Path:
    """Write `folder/recipe.yaml` from the answers, by question key, and return its path.

    Raises `InputError` for an answer that cannot be used, and when there is a recipe already; then
    nothing is written.
    """
    file = folder / FILE
    if file.exists():
        raise InputError("there is a recipe here already", where=Where(file), fix="choose another folder")
    text = recipe_text(folder, answers)
    recipe_from(load_yaml(text, "answers")[0], base=folder)
    write_text(file, text)
    return file


def recipe_text(folder: Path, answers: Mapping[str, str]) -> str:
    """The recipe's YAML."""
    family = answers["family"].strip()
    known = family in family_files()
    if not known and not Path(family).is_dir() and family.count("/") != 1:
        raise InputError(f"`{family}` is no family, no folder and no Hub id", fix="see `bloomery families list`")
    data = answers["data"].strip()
    keep = answers["keep"].strip()
    return TEMPLATE.format(
        here=shlex.quote(str(folder / FILE)),
        model=f"family: {family}" if known else f"model: {_quoted(_relative(family, folder))}",
        domain=DEMO if data == "demo" else f"    - {{path: {_quoted(_relative(data, folder))}}}",
        share=answers["share"].strip() if known else "100%",
        curated=""
        if known
        else "  # curated: [general.jsonl]   # general text to blend in; a bare model brings none\n",
        budget=answers["budget"].strip(),
        counts="passes over your data; general data comes on top"
        if "epoch" in answers["budget"]
        else "general data included",
        keep=f"keep: {{general: {keep}}}         # the run fails (status 3) when more is forgotten\n" if known else "",
    )


def missing(data: str) -> str:
    """A line that warns of data that is not there yet, as the answer names it; empty where it is, or lies elsewhere."""
    data = data.strip()
    if data == "demo" or "://" in data:
        return ""
    try:
        expand(data, Path())
    except InputError as error:
        return f"note: {error.message}; a run will need it"
    return ""


def _relative(path: str, folder: Path) -> str:
    """A path given from the working folder as the recipe will read it: from the recipe's folder."""
    if "://" in path or Path(path).expanduser().is_absolute() or (path.count("/") == 1 and not _here(path)):
        return path
    return os.path.relpath(path, folder)


def _here(path: str) -> bool:
    return any(Path().glob(path)) if not path.startswith(("~", "..")) else Path(path).exists()


def _quoted(text: str) -> str:
    """A YAML string in single quotes."""
    return "'" + text.replace("'", "''") + "'"
