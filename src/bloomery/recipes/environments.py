"""Environments of recipes and suites: as decided values, what cannot work about them, and the host they run in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.validation import checked
from bloomery.recipes.load import Loaded, anchored_environment
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem
from bloomery.recipes.train_sections import EnvironmentSection
from bloomery.rl.environments.named import ADAPTERS, NEAR, near, program

if TYPE_CHECKING:
    from bloomery.rl.environments.apart import Program
    from bloomery.rl.environments.interface import Host

KEY = "rollouts.environment"


def settled(loaded: Loaded) -> dict[str, Any] | None:
    """The section as plain JSON, paths in full, `options` what the environment itself is made with."""
    told = loaded.recipe.rollouts.environment
    return None if told is None else _plain(told, loaded.base, loaded.recipe.trusted)


def of_suite(told: Mapping[str, Any], base: Path, trusted: bool) -> dict[str, Any]:
    """The same of a suite beside the file that describes it. Raises `InputError` for a key with no such value."""
    section = checked(EnvironmentSection, told, lambda key: None, prefix="environment")
    return _plain(section, base.absolute(), trusted)  # its process has a working folder of its own


def _plain(told: EnvironmentSection, base: Path, trusted: bool) -> dict[str, Any]:
    found = {name: getattr(told, name) for name in type(told).model_fields}
    found |= {"options": dict(told.model_extra or {}), "trusted": trusted}
    return found | {key: anchored_environment(found, base)[key] for key in ("type", "python")}


def check(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """What a recipe says of an environment that is not there, runs code that nobody trusts, or has no such option."""
    told = plan.section("rollouts").get("environment")
    if not told:
        return
    if plan.get("rollouts.orchestrators"):
        message = "`rollouts.environment` and `rollouts.orchestrators` both make the rollouts"
        yield Problem(message, loaded.place(KEY), "remove one of the two")
    for error in refusals(told, KEY):
        yield Problem(error.message, loaded.place(KEY), error.fix)


def refusals(told: Mapping[str, Any], key: str) -> Iterator[InputError]:
    """What cannot work about the environment that stands under `key`; one of another process is made there once."""
    found = list(_wrong(told, key))
    yield from found
    if not found and told["type"] not in NEAR:
        file = Path(program_of(told).file)
        reason = _tried(json.dumps(dict(told), sort_keys=True, default=str), file.stat().st_mtime_ns)
        if reason:
            own = f"mend {file.name}, or " if told["type"] not in ADAPTERS else ""
            yield InputError(f"`{key}`: {reason}", fix=f"{own}change `{key}`")


@lru_cache(maxsize=64)
def _tried(told: str, changed: int) -> str:
    """Why the environment cannot be loaded, made or asked; empty where it can. It is asked once for each change of its
    file: a run makes its plan more than once."""
    from bloomery.rl.environments.apart import Apart

    read = json.loads(told)
    try:
        Apart(program_of(read), read["timeout"]).close()
    except InputError as error:
        return error.message
    return ""


def _wrong(told: Mapping[str, Any], key: str) -> Iterator[InputError]:
    file = Path(told["type"].rpartition(":")[0])
    try:
        if told["type"] in NEAR:
            near(told["type"], told["options"])
        else:
            program(told["type"], told["options"], told["python"] or "", ())
    except InputError as error:
        yield InputError(error.message.replace(KEY, key), fix=(error.fix or "change it").replace(KEY, key))
        return
    if file.suffix == ".py" and not file.is_file():
        yield InputError(f"`{key}.type`: there is no file {file}", fix="change `type`")
    if told["python"] and not Path(told["python"]).is_file():
        message = f"`{key}.python`: there is no file {told['python']}"
        yield InputError(message, fix="name an interpreter: path/to/venv/bin/python")
    if told["type"] in NEAR and told["python"]:
        yield InputError(f"`{key}.python` has no effect: `{told['type']}` runs in this process", fix="remove it")
    if (file.suffix == ".py" or told["python"]) and not told["trusted"]:
        what = file.name if file.suffix == ".py" else told["python"]
        yield InputError(f"`{key}` runs the code of {what}, with your rights", fix="read it, then set `trusted: true`")


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
    for error in refusals(told, KEY):
        raise InputError(error.message, where=loaded.place(KEY), fix=error.fix)
    if told["type"] not in NEAR:
        return rows_of(program_of(told), rows)
    made = near(told["type"], told["options"])
    if not hasattr(made, "tasks"):
        raise InputError(f"`{told['type']}` has no tasks of its own", fix="bring rows, as `builtin: workflow-pairs`")
    return list(made.tasks(rows, **told["options"]))
