"""What would keep a grader, or an environment, from scoring anything, found before a model is trained or asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.recipes import environments
from bloomery.recipes.judges import refuse_judge
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem


def check_graders(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Graders that cannot be made, name code or a judge that is not there, or run code that nobody trusts."""
    own = {"eval.grader": plan.get("eval.grader"), "reward": plan.section("rollouts").get("reward")}
    for key, spec in own.items():
        for error in _refusals(f"`{key}`", spec) if spec else ():
            yield Problem(error.message, loaded.place(key), error.fix)
    for error in _of_suites(plan.get("eval.suites")):
        yield Problem(error.message, loaded.place("eval"), error.fix)


def refuse_graders(suites: Iterable[Mapping[str, Any]]) -> None:
    """Raise `InputError` for the first suite, as files describe it, whose grader or metrics cannot work."""
    for error in _of_suites(suites):
        raise error


def _of_suites(suites: Iterable[Mapping[str, Any]]) -> Iterator[InputError]:
    for suite in suites:
        what = f"the suite `{suite['name']}`"
        if suite["grader"]:
            yield from _refusals(what, suite["grader"])
        if played := suite.get("environment"):
            for error in environments.refusals(played, "environment"):
                yield InputError(f"{what}: {error.message}", fix=error.fix)
        for metric in suite["metrics"] or ():
            if isinstance(metric, Mapping):
                yield from _missing(f"{what}: its metric `{metric.get('name', 'python')}`", "metrics", metric)


def _refusals(what: str, spec: Mapping[str, Any]) -> Iterator[InputError]:
    """What is wrong with a grader, or with one inside it."""
    from bloomery.graders.load import load_grader
    from bloomery.graders.nested import walk

    try:
        load_grader(spec)
    except InputError as error:
        yield InputError(f"{what}: {error.message}", fix=error.fix)
        return
    for key, part in walk(spec):
        where = f"{what}: `{key}`" if key else what
        yield from _missing(where, f"{key}.path".lstrip("."), part)
        try:
            refuse_judge(part)
        except InputError as error:
            yield InputError(f"{where}: {error.message}", fix=error.fix)


def _missing(what: str, key: str, spec: Mapping[str, Any]) -> Iterator[InputError]:
    path = spec.get("path")
    if isinstance(path, str) and not Path(path).is_file():
        yield InputError(f"{what}: there is no file {path}", fix=f"change its `{key}`")
