"""The loop file: a recipe, a classifier, a pool of rows, and how many labels each round may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.resources import recipes_dir
from bloomery.core.validation import checked
from bloomery.core.yaml import load_yaml
from bloomery.recipes.load import Loaded, load_recipe, override, place_of
from bloomery.review.spec import ClassifierSpec, load_spec


class LoopFile(BaseModel):
    """A loop as it is written; paths are relative to the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    """The recipe of every round. Its `data.domain` is replaced by the rows that are labelled so far."""
    classifier: str
    """The classifier file that the pool is scored with."""
    pool: str
    """Rows to choose from, each with an `id`."""
    test: str | None = None
    """Rows with `labels`, never trained on, that every round is measured on."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,55}$")
    """Name of the loop; its runs are NAME-00, NAME-01 and so on. Default: the file's name."""
    rounds: int = Field(default=5, ge=1, le=100)
    """Trainings after the first."""
    labels: int = Field(default=100, ge=1)
    """Labels each round asks for, and the first training begins with."""
    order: Literal["value", "random"] = "value"
    """The most valuable labels first, or random ones: the control. The first training's are random in both."""
    people: Literal[1, 2] = 1
    """How many people answer an item."""
    oracle: bool = False
    """Take the answers from the pool's own column `labels`, to simulate people. Otherwise people work the queue."""
    caught: dict[str, float] = {}
    """New threats: question -> part of its held-out positives that must be found, for `labels until caught`."""
    precision: float = Field(default=0.5, gt=0, le=1)
    """The precision at which they must be found."""
    seed: int = Field(default=0, ge=0)
    """Seed of what is drawn at random."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop file that has been read."""

    name: str
    file: LoopFile
    loaded: Loaded
    spec: ClassifierSpec
    pool: Path
    test: Path | None
    asked: str


def read_loop(named: str | Path, changes: Sequence[str] = ()) -> Loop:
    """Read a loop file, or a shipped one by its name, with `key=value` changes laid over it.

    Raises `InputError` with file and line for what cannot be run.
    """
    path = _find(named)
    data, lines = load_yaml(path)
    where = {key: Where(path, line) for key, line in lines.items()}
    for change in changes:
        data = override(data or {}, where, change)
    file = checked(LoopFile, data, lambda key: place_of(where, key) or Where(path, 1))
    base = path.parent
    spec = load_spec(base / file.classifier)
    for question in file.caught:
        if question not in spec.questions:
            fix = f"use one of: {', '.join(spec.questions)}"
            raise InputError(f"`caught.{question}` is no question of the classifier", where=Where(path), fix=fix)
    if file.caught and not file.test:
        raise InputError("`caught` needs rows to be measured on", where=Where(path), fix="add `test`")
    beside = base / file.recipe
    loaded = load_recipe(str(beside) if beside.is_file() else file.recipe, [])
    test = base / file.test if file.test else None
    asked = path.read_text("utf-8") + "".join(f"# {change}\n" for change in changes)
    name = file.name or path.name.split(".")[0]
    return Loop(name, file, loaded, spec, base / file.pool, test, asked)


def _find(named: str | Path) -> Path:
    path = Path(named)
    if path.is_file():
        return path
    shipped = {found.parent.name: found for found in recipes_dir().glob("*/loop.yaml")}
    if str(named) not in shipped:
        fix = f"give a file, or a shipped one: {', '.join(sorted(shipped))}"
        raise InputError(f"there is no loop `{named}`{nearest(str(named), shipped)}", fix=fix)
    return shipped[str(named)]
