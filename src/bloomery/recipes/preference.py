"""Preferences in a recipe: which objective suits the rows, its settings, and what would have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bloomery.core.errors import InputError
from bloomery.families.registry import Family
from bloomery.recipes.defaults import PREFERENCES
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.problem import Problem

AUTO = {"preference": "dpo", "judged": "kto"}
"""Shape of rows -> the objective that `auto` takes."""

_WHY = {"preference": "the domain rows are pairs of answers", "judged": "the domain rows are judged answers"}

COMPARING = ("dpo", "ipo", "kto")
"""Objectives that compare with what the start says."""

ONLY = {"label_smoothing": ("dpo",), "desirable_weight": ("kto",), "undesirable_weight": ("kto",)}
"""Settings that some objectives alone have."""


def objective(kind: str) -> dict[str, Value]:
    """What `objective: auto` is for rows of this kind."""
    return {"objective": Value(AUTO[kind], "derived", _WHY[kind])}


def start(family: Family, stage: str) -> Value:
    """Why `start: auto` takes a stage for preferences."""
    why = "answers are compared that a model gives already: the last stage of training"
    return Value(f"{family.name}/{stage}", "derived", why)


def settings(loaded: Loaded, objective: str) -> dict[str, Value]:
    """The section `preference` as decided values; none for another objective."""
    if objective not in PREFERENCES:
        return {}
    told, given = loaded.recipe.preference, loaded.data.get("preference") or {}
    names = [name for name in type(told).model_fields if objective in ONLY.get(name, PREFERENCES)]
    return {f"preference.{n}": Value(getattr(told, n), "user" if n in given else "stage default") for n in names}


def check(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Rows that the objective cannot learn from, settings that it does not have, a start that answers nothing."""
    asked = plan.get("objective")
    given = loaded.data.get("preference") or {}
    if given and asked not in PREFERENCES:
        message = f"`preference` is set, but `objective` is {asked}"
        yield Problem(message, loaded.place("preference"), "remove it, or use `objective: dpo`")
        return
    for name in given:
        if asked not in ONLY.get(name, PREFERENCES):
            message = f"`preference.{name}` has no effect with `objective: {asked}`"
            yield Problem(message, loaded.place(f"preference.{name}"), f"remove it, or use `{ONLY[name][0]}`")
    yield from _shapes(loaded, plan, asked)
    if asked in PREFERENCES and asked != "orpo" and plan.get("start.kind") == "scaffold":
        message = f"`objective: {asked}` compares with the start, and a scaffold has learned nothing"
        yield Problem(message, loaded.place("start"), "start from a trained checkpoint")


def _shapes(loaded: Loaded, plan: Plan, asked: str) -> Iterator[Problem]:
    shapes = {source.name: source.shape for source in plan.sources if source.role == "domain"}
    place = loaded.place("objective") or loaded.place("data")
    for name, shape in shapes.items():
        if shape in AUTO and asked not in (PREFERENCES if shape == "preference" else ("kto",)):
            holds = "pairs of answers" if shape == "preference" else "judged answers"
            message = f"`objective: {asked}` cannot learn from `{name}`, which holds {holds}"
            yield Problem(message, place, f"use `objective: {AUTO[shape]}`")
    if asked in PREFERENCES and not any(shape in AUTO or shape == "auto" for shape in shapes.values()):
        message = f"`objective: {asked}` learns from preferences, and no domain source holds any"
        yield Problem(message, place, "give rows with `chosen` and `rejected`, or another objective")


def refuse_unused(objective: str, shapes: Mapping[str, str]) -> None:
    """Raise `InputError` where an objective for preferences has none, by the shapes that were read."""
    if objective in PREFERENCES and not any(shape in AUTO for shape in shapes.values()):
        raise InputError(
            f"`objective: {objective}` learns from preferences, and no source holds any",
            fix="give rows with `chosen` and `rejected`, or another objective",
        )
