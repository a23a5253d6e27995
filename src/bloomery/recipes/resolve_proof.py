"""The plan's proof: the forgetting budget, held-out rows, suites and graders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bloomery.core.errors import InputError
from bloomery.families.registry import Family
from bloomery.recipes.curated import MEANING
from bloomery.recipes.data_section import absolute
from bloomery.recipes.given import as_set
from bloomery.recipes.judges import Judge, with_judge
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import spec_of
from bloomery.recipes.plan import Value
from bloomery.recipes.proof_sections import whole_grader
from bloomery.recipes.responsible import bundle, is_bundle, refuse_alone, shipped, whole_suite
from bloomery.recipes.start import Start


def proof_values(loaded: Loaded, family: Family | None, start: Start, objective: str) -> dict[str, Value]:
    """What the run is judged by and against. Raises `InputError` for a suite that the family does not have."""
    recipe = loaded.recipe
    held = recipe.eval.domain
    every = recipe.eval.every
    domain = None if held is None else [absolute(spec_of(spec), loaded.base) for spec in held]
    return {
        **{
            f"keep.{key}": as_set(loaded, f"keep.{key}", value)
            for key, value in recipe.keep.model_dump(mode="json").items()
        },
        "eval.domain": Value(domain, "user" if held else "derived", "" if held else "the held-out domain documents"),
        "eval.grader": as_set(loaded, "eval.grader", _own_grader(loaded)),
        "asked.eval_every": as_set(loaded, "eval.every", {every.unit: every.value} if every else None),
        "eval.watch": as_set(loaded, "eval.watch", recipe.eval.watch),
        "eval.answers": as_set(loaded, "eval.answers", recipe.eval.answers),
        "eval.judge": as_set(loaded, "eval.judge", _judge(loaded)),
        "eval.suites": _judged(loaded, _suites(loaded, family, start, objective)),
    }


def general_text(values: Mapping[str, Value]) -> Value:
    """Where general loss is measured: on the family's `suites`, else on documents held out of what is `replayed`.

    The second where a budget asks for it, or where something stands in for the model's own data; else None.
    """
    if any(suite["role"] == "general" for suite in values["eval.suites"].value):
        return Value("suites", "family")
    curated = any(source["role"] == "curated" for source in values["sources"].value)
    if curated and (values["keep.general"].value is not None or values["curated.mix"].value in MEANING):
        return Value("replayed", "derived", "the family has no general suite: some of what is replayed is held out")
    return Value(None, "derived", "there is no general text" if not curated else "nothing asks for it")


def _own_grader(loaded: Loaded) -> dict[str, Any] | None:
    spec = loaded.recipe.eval.grader
    return spec and with_judge(whole_grader(spec, loaded.base, loaded.recipe.trusted), _judge(loaded))


def _judge(loaded: Loaded) -> Judge | None:
    """The recipe's judge; a folder beside the recipe by its whole path."""
    given = loaded.recipe.eval.judge
    beside = isinstance(given, str) and (loaded.base / given / "config.json").is_file()
    return str(loaded.base / given) if beside else given  # type: ignore[operator]


def _judged(loaded: Loaded, suites: Value) -> Value:
    judge = _judge(loaded)
    found = [{**one, "grader": one["grader"] and with_judge(one["grader"], judge)} for one in suites.value]
    return replace(suites, value=found)


def _suites(loaded: Loaded, family: Family | None, start: Start, objective: str) -> Value:
    asked = loaded.recipe.eval.suites
    if asked == "none" or (asked == "auto" and family is None):
        return Value([], "user" if asked == "none" else "derived", "a model without a family has no suites")
    known = {suite.name: suite for suite in family.file.eval} if family else {}
    stage = "post" if objective != "text" else start.stage
    fitting = [name for name, suite in known.items() if stage in suite.stages]
    suites: list[dict[str, Any]] = []
    for name in ["auto"] if asked == "auto" else asked:
        if name != "auto" and name not in known:
            suites += _bundle(loaded, name, family, known)
            continue
        if family is None:
            continue
        # code of a family's is trusted by the recipe, never by the family itself
        for one in fitting if name == "auto" else [name]:
            suites.append(whole_suite(known[one], family.folder, loaded.recipe.trusted, own=False))
    if asked != "auto":
        refuse_alone(suites)
    return Value(suites, "family" if asked == "auto" else "user", "all that suit the stage" if asked == "auto" else "")


def _bundle(loaded: Loaded, name: str, family: Family | None, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The suites of a shipped bundle or of a file beside the recipe."""
    if is_bundle(name):
        return bundle(name, loaded.base, loaded.recipe.trusted)
    has = f"the family `{family.name}` has no suite `{name}`; it has {', '.join(known)}" if family else f"no `{name}`"
    raise InputError(
        f"`eval.suites`: {has}",
        where=loaded.place("eval.suites"),
        fix=f"name one of them, `auto`, {', '.join(f'`{one}`' for one in shipped())}, or a file",
    )
