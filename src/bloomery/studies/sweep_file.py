"""The sweep file: one recipe, and the keys whose values are tried."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bloomery.core.errors import InputError, Where
from bloomery.core.validation import checked, place_in
from bloomery.core.yaml import load_yaml
from bloomery.recipes.load import Loaded, load_recipe, with_changes

MOST = 200
"""Experiments of one sweep: more is a grid that somebody did not multiply."""


class SweepFile(BaseModel):
    """`recipe`, and `grid` (every combination of its values) or `runs` (experiments one by one), or both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    """A recipe, relative to this file, or the name of a shipped one."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,55}$")
    """Name of the sweep; its runs are NAME-01, NAME-02 and so on. Default: the file's name."""
    grid: dict[str, list[Any]] = {}
    """Values by dotted key of the recipe."""
    runs: list[dict[str, Any]] = []
    """Experiments, each a mapping of dotted keys to values."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One run of a sweep: its name, the keys that set it apart, and its recipe."""

    name: str
    settings: Mapping[str, Any]
    loaded: Loaded


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file that has been read: its name and its experiments in order."""

    name: str
    experiments: tuple[Experiment, ...]

    @property
    def keys(self) -> list[str]:
        """Every key that some experiment sets, in order of appearance."""
        return list(dict.fromkeys(key for one in self.experiments for key in one.settings))


def read_sweep(path: Path, overrides: list[str]) -> Sweep:
    """Read a sweep file; `overrides` (`key=value`) change its recipe for all experiments.

    Raises `InputError` with file and line for keys that do not exist, values that the recipe refuses, an empty or
    a boundless sweep, and experiments that are equal.
    """
    data, lines = load_yaml(path)
    where = {key: Where(path, line) for key, line in lines.items()}
    file = checked(SweepFile, data, place_in(lines, path))
    settings = [*_grid(file.grid, where.get("grid")), *file.runs]
    if not settings:
        raise InputError("the sweep has no experiments", where=Where(path, 1), fix="add values under `grid` or `runs`")
    if len(settings) > MOST:
        raise InputError(
            f"the sweep has {len(settings)} experiments, more than {MOST}",
            where=where.get("grid"),
            fix="shorten `grid`",
        )
    beside = path.parent / file.recipe
    base = load_recipe(beside if beside.is_file() else file.recipe, overrides)
    name = file.name or path.name.split(".")[0]
    width = max(2, len(str(len(settings))))
    found = tuple(
        _experiment(base, f"{name}-{number:0{width}}", one, _place(number, len(settings) - len(file.runs), where, path))
        for number, one in enumerate(settings, 1)
    )
    _distinct(found, path)
    return Sweep(name, found)


def _grid(grid: Mapping[str, list[Any]], where: Where | None) -> list[dict[str, Any]]:
    for key, values in grid.items():
        if not values:
            raise InputError(f"`grid.{key}` is an empty list", where=where, fix="name its values, or remove it")
    if not grid:
        return []
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _place(number: int, gridded: int, where: Mapping[str, Where], path: Path) -> Where:
    key = "grid" if number <= gridded else f"runs.{number - gridded - 1}"
    return where.get(key) or Where(path, 1)


def _experiment(base: Loaded, name: str, settings: Mapping[str, Any], place: Where) -> Experiment:
    if "name" in settings:
        fix = f"remove it; this one is `{name}`, after the `name` of the sweep"
        raise InputError("an experiment of a sweep has no `name` of its own", where=place, fix=fix)
    try:
        return Experiment(name, settings, with_changes(base, {**settings, "name": name}))
    except InputError as error:
        told = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise InputError(f"with {told}: {error.message}", where=place, fix=error.fix) from None


def _distinct(experiments: tuple[Experiment, ...], path: Path) -> None:
    seen: dict[str, str] = {}
    for one in experiments:
        key = repr(one.loaded.recipe.model_copy(update={"name": None}))
        if key in seen:
            raise InputError(
                f"{seen[key]} and {one.name} are the same experiment", where=Where(path, 1), fix="keep one"
            )
        seen[key] = one.name
