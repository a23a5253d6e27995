"""The environment of a recipe's rollouts: as a decided value, what cannot work about it, and the host it runs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.recipes.load import Loaded, anchored_environment
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem
from bloomery.rl.environments.named import NEAR, near, program

if TYPE_CHECKING:
    from bloomery.rl.environments.apart import Program
    from bloomery.rl.environments.interface import Host

KEY = "rollouts.environment"


def settled(loaded: Loaded) -> dict[str, Any] | None:
    """The section as plain JSON, paths in full, `options` what the environment itself is made with."""
    told = loaded.recipe.rollouts.environment
    if told is None:
        return None
    found = {name: getattr(told, name) for name in type(told).model_fields}
    found |= {"options": dict(told.model_extra or {}), "trusted": loaded.recipe.trusted}
    return found | {key: anchored_environment(found, loaded.base)[key] for key in ("type", "python")}


def check(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """What a recipe says of an environment that is not there, runs code that nobody trusts, or has no such option."""
    told = plan.section("rollouts").get("environment")
    if not told:
        return
    if plan.get("rollouts.orchestrators"):
        message = "`rollouts.environment` and `rollouts.orchestrators` both make the rollouts"
        yield Problem(message, loaded.place(KEY), "remove one of the two")
    yield from _problems(loaded, told)


def _problems(loaded: Loaded, told: Mapping[str, Any]) -> Iterator[Problem]:
    file = Path(told["type"].rpartition(":")[0])
    try:
        if told["type"] in NEAR:
            near(told["type"], told["options"])
        else:
            program(told["type"], told["options"], told["python"] or "", ())
    except InputError as error:
        yield Problem(error.message, loaded.place(KEY), error.fix or "change it")
        return
    if file.suffix == ".py" and not file.is_file():
        yield Problem(f"`{KEY}.type`: there is no file {file}", loaded.place(KEY), "change `type`")
    if told["python"] and not Path(told["python"]).is_file():
        message = f"`{KEY}.python`: there is no file {told['python']}"
        yield Problem(message, loaded.place(KEY), "name an interpreter: path/to/venv/bin/python")
    if told["type"] in NEAR and told["python"]:
        message = f"`{KEY}.python` has no effect: `{told['type']}` runs in this process"
        yield Problem(message, loaded.place(KEY), "remove it")
    if (file.suffix == ".py" or told["python"]) and not told["trusted"]:
        what = file.name if file.suffix == ".py" else told["python"]
        message = f"`{KEY}` runs the code of {what}, with your rights"
        yield Problem(message, loaded.place(KEY), "read it, then set `trusted: true`")


def program_of(told: Mapping[str, Any]) -> Program:
    """What runs in a process of its own."""
    return program(told["type"], told["options"], told["python"] or "", tuple(told["passed"]))


def host_of(told: Mapping[str, Any]) -> Host | None:
    """Where the environments of a run are; None where they drive their rollouts themselves.

    Raises `InputError` where they cannot be made.
    """
    from bloomery.rl.environments.apart import Apart
    from bloomery.rl.environments.near import Near

    if told["type"] in NEAR:
        return Near(partial(near(told["type"], told["options"]), **told["options"]))
    host = Apart(program_of(told), told["timeout"], told["processes"])
    if not host.drives:
        return host
    host.close()
    return None


def tasks_in(loaded: Loaded, rows: int) -> list[dict[str, Any]]:
    """Rows of tasks that a recipe's environment has. Raises `InputError` where it has none, or nobody trusts it."""
    from bloomery.rl.environments.apart import rows_of

    told = settled(loaded)
    if told is None:
        raise InputError("the recipe has no `rollouts.environment`", where=loaded.place("rollouts"), fix="add one")
    for problem in _problems(loaded, told):
        raise problem.error()
    if told["type"] not in NEAR:
        return rows_of(program_of(told), rows)
    made = near(told["type"], told["options"])
    if not hasattr(made, "tasks"):
        raise InputError(f"`{told['type']}` has no tasks of its own", fix="bring rows, as `builtin: workflow-pairs`")
    return list(made.tasks(rows, **told["options"]))
