"""A family's suites: which of them suit, and their rows as a file, generated or fetched where they lie in none."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import islice
from pathlib import Path
from re import findall
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.files import canonical_hash, write_text
from bloomery.data.readers import once, read_jsonl
from bloomery.families.registry import Family, load_family
from bloomery.families.suites import OUTSIDE
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem
from bloomery.recipes.responsible import bundle, is_bundle, refuse_alone, unknown, whole_suite

ORIGIN = ("builtin", "options", "hf", "config", "split", "revision")
"""Keys of a suite that say where rows come from which lie in no file beside the family's."""


def chosen(
    family: Family | None, stage: str, names: Sequence[str] | None, trusted: bool = False
) -> list[dict[str, Any]]:
    """The suites of these names, as files describe them with paths in full; without names, all that suit the stage.

    A name is that of a family's suite, of a bundle that ships (`responsible`), `auto` for all that suit the stage, or a
    file. Raises `InputError` with the nearest name for one that there is not, and for refusals asked for alone.
    """
    known = {suite.name: suite for suite in family.file.eval} if family else {}
    fitting = [name for name, suite in known.items() if stage in suite.stages]
    base = family.folder if family else Path()
    found: list[dict[str, Any]] = []
    for name in fitting if names is None else names:
        if name in known or name == "auto":
            asked = fitting if name == "auto" else [name]
            # code of a family's is trusted by whoever asks, never by the family itself
            found += [whole_suite(known[one], base, trusted, own=False) for one in asked]
        elif is_bundle(name):
            found += bundle(name, Path(), trusted)
        elif family is None:
            raise InputError(f"`--suite {name}` is no bundle and no file{unknown(name, ())}", fix="add --family")
        else:
            message = f"the family `{family.name}` has no suite `{name}`{unknown(name, known)}"
            raise InputError(message, fix="change --suite")
    if names is not None:
        refuse_alone(found)
    return found


def with_rows(suite: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The suite with its rows in a file: its own, or one written under `folder`, readable by its owner only.

    Raises `InputError` for rows that cannot be had; generated ones follow from their options, those of the Hub are
    fetched at their revision.
    """
    kept = suite["path"]
    if suite["kind"] in OUTSIDE:
        return dict(suite)
    if kept and (Path(kept).is_file() or not (suite["builtin"] or suite["hf"])):
        return dict(suite)
    path = (folder / f"{_file_name(suite)}.jsonl").absolute()
    rows = islice(suite["rows"] or _fields(suite), suite["limit"])
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows), 0o600)
    return {**suite, "path": str(path), "rows": None}


def plan_with_rows(plan: Plan, folder: Path) -> Plan:
    """The plan with every suite's rows in a file: whatever a run is judged by is here, and fits, before it trains."""
    from bloomery.recipes.judging import family_suites

    value = plan.values["eval.suites"]
    suites = [with_rows(suite, folder / "eval" / "suites") for suite in value.value]
    for suite in family_suites(suites):
        if suite.kind not in OUTSIDE:
            suite.load_rows()
    for told in value.value:
        if told["path"] and Path(told["path"]).suffix == ".jsonl" and not (told["builtin"] or told["hf"]):
            deque(once(read_jsonl(Path(told["path"]))), 0)  # read for what it refuses
    return plan.updated({"eval.suites": replace(value, value=suites)})


def check_suites(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Generated suites that nothing generates, or with options that their generator does not have."""
    from bloomery.data.builtin import generate

    for suite in plan.get("eval.suites"):
        try:
            if suite["builtin"]:
                generate(suite["builtin"], suite["options"])
        except InputError as error:
            yield Problem(f"the suite `{suite['name']}`: {error.message}", loaded.place("eval.suites"), error.fix)


def check_versions(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A family that needs a newer transformers than is installed."""
    least = load_family(plan.get("family")).file.transformers if plan.get("family") else None
    if least is None:
        return
    installed = metadata.version("transformers")
    if _numbers(installed) < _numbers(least):
        message = f"the family `{plan.get('family')}` needs transformers {least} or newer, and {installed} is installed"
        yield Problem(message, loaded.place("family"), f"pip install 'transformers>={least}'")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in findall(r"\d+", version)[:3]]


def _file_name(suite: Mapping[str, Any]) -> str:
    """The suite's name with what its rows follow from, so that other rows are never taken for its own."""
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in suite["name"])[:60]
    return f"{plain}-{canonical_hash({key: suite[key] for key in (*ORIGIN, 'rows', 'limit')})[:12]}"


def _fields(suite: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Rows as their source has them, columns unchanged: evaluation looks for its own, as in a suite's file."""
    from bloomery.data.config import SourceSpec
    from bloomery.data.sources import iter_records

    spec = SourceSpec.model_validate({"name": suite["name"], **{key: suite[key] for key in ORIGIN if suite[key]}})
    return (dict(record.fields) for record in iter_records(spec, Path()))
