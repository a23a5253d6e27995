"""`data.order`: the domain's rows in stages from easy to hard, as values of the plan and as the shares of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.recipes.given import as_set
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.problem import Problem

if TYPE_CHECKING:
    from bloomery.core.rows import Segment
    from bloomery.data.curriculum import Stage

STAGES = "data.stages"
"""Key of the plan's stages by source, as they were found: name, documents, tokens, easiest and hardest."""


def order_values(loaded: Loaded) -> dict[str, Value]:
    """`data.order` and, where it is a curriculum, its settings."""
    order = loaded.recipe.data.order
    found = {"data.order": as_set(loaded, "data.order", order.by)}
    if order.by != "shuffle":
        names = ("column", "hard", "stages", "replay")
        found |= {f"data.order.{n}": as_set(loaded, f"data.order.{n}", getattr(order, n)) for n in names}
    return found


def is_staged(plan: Plan) -> bool:
    """Whether rows go from easy to hard."""
    return bool(plan.get("data.order") != "shuffle")


def with_stages(plan: Plan, stages: Mapping[str, Sequence[Stage]]) -> Plan:
    """The plan with the stages that its sources were cut into."""
    if not stages:
        return plan
    told = {name: [stage.to_json() for stage in own] for name, own in stages.items()}
    return plan.updated({STAGES: Value(told, "derived", f"the rows by {plan.get('data.order')}")})


def through_stages(plan: Plan, segments: Sequence[Segment], steps: int) -> list[Segment]:
    """The segments with each domain source led through its stages; stages not found yet count as equally long.

    Raises `InputError` where a stage would be shorter than a step.
    """
    if not is_staged(plan):
        return list(segments)
    from bloomery.data.curriculum import staged

    found = plan.values.get(STAGES)
    equal = [{"tokens": 1}] * plan.get("data.order.stages")
    known = {s.name: found.value[s.name] if found else equal for s in plan.sources if s.role == "domain"}
    sizes = {name: [float(stage["tokens"]) for stage in own] for name, own in known.items()}
    return staged(segments, steps, sizes, plan.get("data.order.replay"))


def stage_lines(plan: Plan) -> list[str]:
    """A line for each domain source: the first step of each of its stages and, once measured, their difficulty."""
    from bloomery.data.curriculum import stage_name
    from bloomery.recipes.configure import segments

    if not is_staged(plan):
        return []
    found, parts = plan.values.get(STAGES), segments(plan)
    lines = []
    for source in (source.name for source in plan.sources if source.role == "domain"):
        told = []
        for number in range(1, plan.get("data.order.stages") + 1):
            first = next((part.start for part in parts if stage_name(source, number) in part.share), None)
            own: dict[str, Any] | None = found.value[source][number - 1] if found else None
            between = f" ({own['easiest']:.3g} to {own['hardest']:.3g})" if own else ""
            told.append(f"{number} from step {first:,}{between}" if first is not None else f"{number} never")
        lines.append(f"{source}: {'' if found else 'by estimate '}{', '.join(told)}")
    return lines


def check(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A curriculum without domain rows, without what it goes by, or in too few steps."""
    if not is_staged(plan):
        return
    from bloomery.data.curriculum import stage_name
    from bloomery.recipes.configure import segments

    place, domain = loaded.place("data.order"), [source for source in plan.sources if source.role == "domain"]
    if not domain:
        yield Problem("`data.order` is of the domain's rows, and there are none", place, "remove it, or add a domain")
        return
    if plan.get("data.order") == "loss" and plan.get("start.kind") == "scaffold":
        message = "`data.order` by loss asks what the start finds hard, and a scaffold has learned nothing"
        yield Problem(message, place, "start from a trained checkpoint, or order by a column")
    names = {source.name for source in plan.sources}
    for name in (stage_name(s.name, n + 1) for s in domain for n in range(plan.get("data.order.stages"))):
        if name in names:
            yield Problem(f"a source is called `{name}`, as a stage would be", place, "give it another `name`")
    yield from _columns(loaded, plan)
    for arm in plan.arms:
        try:
            segments(plan, arm.name)
        except InputError as error:
            yield Problem(error.message, place, error.fix)


def _columns(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """What the first row of each local domain source lacks; the run looks at all of them."""
    from bloomery.data.config import SourceSpec
    from bloomery.data.difficulty import meaning, of_record
    from bloomery.data.sources import iter_records

    order = plan.section("data.order")
    for source in (one for one in plan.sources if order["column"] and one.role == "domain"):
        spec = SourceSpec.model_validate({**source.spec, "name": source.name})
        if spec.remote:
            continue
        try:
            first = next(iter_records(spec, loaded.base))
            of_record(first, order["column"], meaning(plan.get("data.order"), order["hard"]))
        except InputError as error:
            yield Problem.of(error)
