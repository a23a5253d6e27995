"""What the command line shows of policies, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.core.yaml import load_yaml
from bloomery.graders.load import NOTHING, Given
from bloomery.serve.policy.category import arm
from bloomery.serve.policy.decision import Decision
from bloomery.serve.policy.guard import PolicyGuard
from bloomery.serve.policy.load import TEMPLATES, Loaded, load_policy, templates
from bloomery.serve.policy.measure import Measured, measure
from bloomery.serve.policy.rows import read_rows, run_rows
from bloomery.serve.policy.schema import Category

UNASKED = Given(judges=lambda name: lambda questions: [])
"""Judges of any name, which are made only."""
HEADINGS = ("category", "action", "on", "detectors", "on failure", "exceptions")


@dataclass(frozen=True, slots=True)
class Checked:
    """A policy that can guard: every detector was made."""

    loaded: Loaded

    def table(self) -> list[list[str]]:
        """A row for every category, the floor's first."""
        floor = [_line(name, category, " (floor)") for name, category in self.loaded.floor.items()]
        return floor + [_line(name, category, "") for name, category in self.loaded.policy.categories.items()]

    def to_json(self) -> dict[str, Any]:
        """The policy as it guards, the floor apart."""
        return {
            "policy": str(self.loaded.path),
            "hash": self.loaded.hash,
            "floor": _dumped(self.loaded.floor),
            "categories": _dumped(self.loaded.policy.categories),
            "bounds": self.loaded.policy.bounds.model_dump(mode="json", exclude_none=True),
        }


@dataclass(frozen=True, slots=True)
class Tried:
    """What a policy did with one text: the decision, the text that is let through, and what was logged."""

    decision: Decision
    text: str
    events: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        decision = {"action": self.decision.action, "category": self.decision.category}
        return {"decision": decision, "text": self.text, "events": list(self.events)}


def check_policy(path: Path | str, given: Given = UNASKED) -> Checked:
    """Read a policy and make all its detectors, asking none. Raises `InputError` with file and line.

    `given` may refuse judges by name that are not there.
    """
    loaded = load_policy(path)
    arm(loaded, lambda question, labels: labels[0], given)
    return Checked(loaded)


def run_policy(path: Path | str, rows: Path, given: Given = NOTHING) -> Measured:
    """Run rows through a policy and measure it against its bounds.

    Raises `InputError` with file and line for a row of a category that the policy does not have.
    """
    loaded, read = load_policy(path), read_rows(rows)
    known = {*loaded.floor, *loaded.policy.categories}
    for row in read:
        if row.category and row.category not in known:
            said = f"`category: {row.category}` is none of the policy's{nearest(row.category, known)}"
            raise InputError(said, where=row.where, fix="rename it, or leave it out")
    guard = PolicyGuard(loaded, lambda event: None, given=given)
    return measure(str(loaded.path), run_rows(guard, read), loaded.policy.bounds)


def try_policy(path: Path | str, text: str, side: str, given: Given = NOTHING) -> Tried:
    """What a policy does with one text, as `input` from a user or as `output` of the model."""
    events: list[dict[str, Any]] = []
    guard = PolicyGuard(load_policy(path), events.append, given=given)
    if side == "output":
        watch = guard.watch([])
        released = watch.feed(text)[0] + watch.finish()[0]
        return Tried(watch.decision, released, tuple(events))
    message = {"role": "user", "content": text}
    decision = guard.check_input([message])
    released = "" if decision.action == "block" else str(guard.masked([message])[0]["content"])
    return Tried(decision, released, tuple(events))


def template_table() -> list[list[str]]:
    """(name, categories, what its first comment says) of every shipped template."""
    found = []
    for name in templates():
        path = TEMPLATES / f"{name}.yaml"
        first = takewhile(lambda line: line.startswith("# "), path.read_text(encoding="utf-8").splitlines())
        about = " ".join(line.removeprefix("# ") for line in first)
        named = load_yaml(path)[0]
        found.append([name, ", ".join([*_names(named)]), about])
    return found


def _names(data: Mapping[str, Any]) -> list[str]:
    above = data.get("extends", [])
    inherited = [f"all of {name}" for name in ([above] if isinstance(above, str) else above)]
    return [*inherited, *data.get("categories", {})]


def _line(name: str, category: Category, mark: str) -> list[str]:
    kinds = [detector.kind for detector in category.detectors]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    exceptions = str(sum(len(exempt.phrases) for exempt in category.allow) or "")
    return [name + mark, category.action, category.applies, counted, category.on_failure, exceptions]


def _dumped(categories: Mapping[str, Category]) -> dict[str, Any]:
    return {name: category.model_dump(mode="json", exclude_defaults=True) for name, category in categories.items()}
