"""`bloomery explain`: what a run would read, need, take and refuse, in under a second and without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.recipes.blend_checks import notes
from bloomery.recipes.checks import check_disk, check_plan, disk_bytes, epochs_by_source, tokens_by_source
from bloomery.recipes.counts import cache_dir, known_counts, known_stages
from bloomery.recipes.data_section import absolute
from bloomery.recipes.fit import memory_limit, need, planned
from bloomery.recipes.holdable import hold_notes
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine, this_machine
from bloomery.recipes.memory import ModelShape, Need, shape_of
from bloomery.recipes.mixing import source_names, spec_of
from bloomery.recipes.pipeline import trainings
from bloomery.recipes.plan import Plan
from bloomery.recipes.preference import COMPARING
from bloomery.recipes.problem import Problem
from bloomery.recipes.resolve import resolve
from bloomery.recipes.rollout_cost import Rollouts, rollouts, seconds_of
from bloomery.recipes.sample import Sample, sample_source
from bloomery.recipes.settle import settle
from bloomery.recipes.start import RUNS, start_of
from bloomery.recipes.streaming import check as check_streams

OVERHEAD = 1.25
"""Time beyond training itself: held-out losses, the report, checkpoints. A guess until measured."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One line of the table of sources; `tokens` is None where nobody knows, `exact` whether it was counted.

    `columns` says what its rows are read as, where they were looked at.
    """

    name: str
    role: str
    tokens: int | None
    exact: bool
    share: float
    used: int
    epochs: float | None
    licence: str | None
    columns: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything `explain` prints. `plan` is None when the recipe could not be resolved; `problems` says why.

    Of a recipe with several trainings it tells the first, `later` the others as if those before them had ended;
    `problems` are those of all.
    """

    name: str
    plan: Plan | None
    problems: tuple[Problem, ...]
    sources: tuple[SourceRow, ...] = ()
    machine: Machine | None = None
    memory: Need | None = None
    limit: int | None = None
    disk: int | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    later: tuple[Explanation, ...] = ()

    @property
    def can_run(self) -> bool:
        """Whether nothing would be refused."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value."""
        return {
            "name": self.name,
            "can_run": self.can_run,
            "problems": [str(problem) for problem in self.problems],
            "sources": [asdict(row) for row in self.sources],
            "machine": asdict(self.machine) if self.machine else None,
            "memory": asdict(self.memory) | {"total": self.memory.total} if self.memory else None,
            "memory_limit": self.limit,
            "disk": self.disk,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "plan": self.plan.to_json() if self.plan else None,
            "later": [one.to_json() for one in self.later],
        }

    def _repr_html_(self) -> str:
        from bloomery.recipes.notebook import explanation_html

        return explanation_html(self)


def explain(
    loaded: Loaded, machine: Machine | None = None, cache: Path | None = None, place: Path = RUNS
) -> Explanation:
    """Resolve a recipe and find out what each of its trainings would do, in a run folder at or below `place`.

    Refusals are collected, not raised; a run raises these, so both come to the same verdict.
    """
    try:
        parts = trainings(loaded)
    except InputError as error:
        return Explanation(loaded.name, None, (Problem.of(error),))
    found: list[Explanation] = []
    for part in parts:
        found.append(_explained(part, found[-1].plan if found else None, machine, cache or cache_dir()))
        if found[-1].plan is None:
            break  # nothing is known of what the next one would start from
    room = check_disk([one.plan for one in found if one.plan], place)
    problems = dict.fromkeys([*(problem for one in found for problem in one.problems), *room])
    return replace(found[0], name=loaded.name, problems=tuple(problems), later=tuple(found[1:]))


def _explained(loaded: Loaded, before: Plan | None, machine: Machine | None, cache: Path) -> Explanation:
    """One training, after the one that `before` plans."""
    samples, problems = _look(loaded)
    try:
        plan = resolve(loaded, samples, before)
    except InputError as error:
        return Explanation(loaded.name, None, (*problems, Problem.of(error)))
    machine = machine or this_machine(plan.get("memory.device"), plan.get("memory.precision"))
    counted, plan = known_counts(plan, cache), known_stages(plan, cache)
    plan = settle(plan, plan.get("source_tokens") | counted, not _all_counted(plan, counted), machine)
    exact = set(counted) | {name for name, sample in samples.items() if sample.exact}
    shape = shape_of(start_of(plan).config())
    sampled = rollouts(plan, samples, machine, cache)
    return Explanation(
        loaded.name,
        plan,
        (*problems, *check_plan(loaded, plan, machine), *check_streams(loaded, plan)),
        _rows(plan, exact, samples),
        machine,
        need(plan, shape, planned(plan), machine) if shape else None,
        memory_limit(plan, machine),
        disk_bytes(plan),
        _seconds(plan, shape, machine, sampled),
        (*notes(plan), *hold_notes(plan), *(one.said for one in sampled[:1])),
    )


def _look(loaded: Loaded) -> tuple[dict[str, Sample], list[Problem]]:
    """A sample of each domain source, and a refusal for each that cannot be read."""
    samples, problems = {}, []
    specs = loaded.recipe.data.domain
    for place, (name, spec) in enumerate(zip(source_names(specs), specs, strict=True)):
        try:
            samples[name] = sample_source(absolute(spec_of(spec), loaded.base), loaded.base)
        except InputError as error:
            where: Where | None = error.where or loaded.place(f"data.domain.{place}")
            problems.append(Problem(error.message, where, error.fix))
            samples[name] = Sample("unknown", 0, 0, False)
    return samples, problems


def _all_counted(plan: Plan, counted: Mapping[str, int]) -> bool:
    return all(source.name in counted for source in plan.sources)


def _rows(plan: Plan, exact: set[str], samples: Mapping[str, Sample]) -> tuple[SourceRow, ...]:
    known, used, epochs = plan.get("source_tokens"), tokens_by_source(plan), epochs_by_source(plan)
    total = sum(used.values()) or 1.0
    return tuple(
        SourceRow(
            source.name,
            source.role,
            known.get(source.name) or None,
            source.name in exact,
            used[source.name] / total,
            round(used[source.name]),
            epochs.get(source.name),
            source.licence,
            samples[source.name].columns if source.name in samples else "",
        )
        for source in plan.sources
    )


def _seconds(plan: Plan, shape: ModelShape | None, machine: Machine, sampled: Sequence[Rollouts]) -> float | None:
    """Time of all arms and seeds: 6 FLOP a weight and token (arXiv 2001.08361), a third more when recomputing."""
    if shape is None:
        return None
    weights, attention = 6 * shape.linear_parameters, 6 * shape.layers * shape.hidden
    settling = plan.get("optim.settle") * plan.get("optim.batch_tokens")
    tokens = sum(arm.tokens + min(settling, arm.tokens) + _asked(plan, arm.name) / 3 for arm in plan.arms)
    again = 4 / 3 if plan.get("memory.activation_checkpointing") else 1
    found = tokens * again * (weights + attention * plan.get("context")) / machine.flops
    found += sum(seconds_of(one, again * weights, again * attention, plan, machine) for one in sampled)
    return float(found * len(plan.get("seeds")) * OVERHEAD)


def _asked(plan: Plan, arm: str) -> float:
    """Tokens of forward passes beside training, each a third of its cost: about the start's answers, and its loss.

    They take no more memory than a step: there is no second model, and no gradient.
    """
    used, known = tokens_by_source(plan, arm), plan.get("source_tokens")
    domain = [source for source in plan.sources if source.role == "domain" and source.shape != "text"]
    once = {source.name: min(used[source.name], known.get(source.name) or used[source.name]) for source in domain}
    found = 0.0
    if plan.get("objective") in COMPARING:
        found += sum(once.values())
    if plan.get("objective") == "kto":  # each answer has a row that measures: asked of the start, and at every step
        found += sum(once.values()) + sum(used[source.name] for source in domain)
    if plan.get("data.order") == "loss" and arm == "blend":
        found += sum(known.get(source.name) or 0 for source in plan.sources if source.role == "domain")
    return found
