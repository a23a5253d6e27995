"""A recipe's `steps` as trainings: each `train` with what follows it, up to the next `train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.recipes.load import Loaded, with_changes
from bloomery.recipes.plan import Plan


@dataclass(frozen=True, slots=True)
class Earlier:
    """The trainings before one of the same recipe, for judging it: what the first began with is what is to be kept."""

    first: Plan
    keep: float | None = None
    """The smallest forgetting budget of those that ended without an evaluation."""


def after(earlier: Earlier | None, plan: Plan) -> Earlier:
    """What the training after `plan` is judged by."""
    first = earlier.first if earlier else plan
    if any(step["do"] == "evaluate" for step in plan.get("steps")):
        return Earlier(first)
    budgets = (earlier.keep if earlier else None, plan.get("keep.general"))
    return Earlier(first, min((one for one in budgets if one is not None), default=None))


def trainings(loaded: Loaded) -> list[Loaded]:
    """One recipe for each `train` step, its `set` laid over the whole; a later one continues from the one before.

    A training that another follows also exports its model, since the next one starts from that.
    Raises `InputError` for steps that do not begin with `train`, and for `set` on a step that trains nothing.
    """
    steps = [step.model_dump() for step in loaded.recipe.steps]
    if not steps or steps[0]["do"] != "train":
        raise InputError("`steps` must begin with `train`", where=loaded.place("steps"), fix="put `train` first")
    groups: list[list[dict[str, Any]]] = []
    begins = []
    for number, step in enumerate(steps):
        if step["do"] == "train":
            groups.append([])
            begins.append(number)
        elif step["set"]:
            where = loaded.place(f"steps.{number}")
            raise InputError(
                f"`set` on a step that does `{step['do']}` changes nothing", where=where, fix="remove `set`"
            )
        groups[-1].append(step)
    if len(groups) == 1 and not groups[0][0]["set"]:
        return [loaded]
    return [
        _training(_placed(loaded, number), group, last=group is groups[-1])
        for number, group in zip(begins, groups, strict=True)
    ]


def judged(made: list[Loaded]) -> list[Loaded]:
    """The trainings, the last with an evaluation before its export where a `keep` would otherwise end unjudged."""
    open_budget, does = False, [""]
    for part in made:
        does = [step.do for step in part.recipe.steps]
        open_budget = "evaluate" not in does and (open_budget or part.recipe.keep.general is not None)
    if not open_budget:
        return made
    steps: list[Any] = [step.model_dump() for step in made[-1].recipe.steps]
    at = does.index("export") if "export" in does else len(does)
    return [*made[:-1], with_changes(made[-1], {"steps": [*steps[:at], "evaluate", *steps[at:]]})]


def starting_from(loaded: Loaded, run: Path) -> Loaded:
    """The recipe with a finished run in place of its start."""
    return with_changes(loaded, {"start": str(run), "scaffold": None})


def _placed(loaded: Loaded, number: int) -> Loaded:
    """The recipe whose keys under a step's `set` lie where that step sets them."""
    prefix = f"steps.{number}.set."
    own = {key.removeprefix(prefix): where for key, where in loaded.where.items() if key.startswith(prefix)}
    return replace(loaded, where={k: w for k, w in loaded.where.items() if not _below(k, own)} | own)


def _below(key: str, keys: Mapping[str, Where]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in keys)


def _training(loaded: Loaded, group: list[dict[str, Any]], last: bool) -> Loaded:
    first = group[0]
    does = [step["do"] for step in group]
    steps: list[Any] = ["train", *group[1:], *([] if last or "export" in does else ["export"])]
    name = loaded.name if last else first["name"] or "train"
    return with_changes(loaded, {**first["set"], "steps": steps, "name": name})
