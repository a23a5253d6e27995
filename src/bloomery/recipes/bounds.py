"""What a recipe asks of this machine or of the run's length that neither has: a GPU, cores, more than the whole run."""

from __future__ import annotations

from collections.abc import Iterator

from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine, usable_cores
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem


def check(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A refusal for each setting beyond its bound."""
    if plan.get("memory.device") == "cuda" and machine.kind != "cuda":
        message = "`memory.device: cuda` needs a GPU, and there is none"
        yield Problem(message, loaded.place("memory.device"), "remove `memory.device`, or set it to cpu")
    threads, cores = plan.get("threads"), usable_cores()
    if threads and threads > cores:
        message = f"`threads: {threads}` is more than the {cores} that this machine runs at once"
        yield Problem(message, loaded.place("threads"), f"remove `threads`, or set it to at most {cores}")
    yield from _schedule(loaded, plan)
    yield from _phases(loaded, plan)
    settle, steps = plan.get("optim.settle"), plan.get("budget.steps")
    if settle > steps:
        message = f"`optim.settle: {settle}` is more than the {steps} steps of the run"
        yield Problem(message, loaded.place("optim.settle"), "remove it, or lower it")
    warmup, anneal = plan.get("schedule.warmup"), plan.get("schedule.anneal")
    if plan.get("schedule.kind") == "wsd" and warmup + anneal > 1 + 1e-9:
        message = f"`schedule.warmup` and `schedule.anneal` take {warmup + anneal:.0%} of the run together"
        key = "schedule.anneal" if loaded.recipe.schedule.anneal is not None else "schedule.warmup"
        yield Problem(message, loaded.place(key), f"lower `{key}` until they take 100 % at most")


def _phases(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """Phases that do not make up the run, or are no step of it."""
    steps, phases = plan.get("budget.steps"), plan.get("asked.phases")
    lengths = []
    for place, phase in enumerate(phases):
        ((unit, amount),) = phase["length"].items()
        lengths.append(amount * steps if unit == "share" else amount)
        if round(lengths[-1]) < 1:
            message = f"the phase `{phase['name']}` lasts {lengths[-1]:.2g} of the run's {steps} steps: not one"
            yield Problem(message, loaded.place(f"phases.{place}.length"), "make it longer, or remove it")
    if phases and abs(sum(lengths) - steps) > len(phases):
        message = f"the phases last {sum(lengths):g} steps together, and the run {steps}"
        yield Problem(message, loaded.place("phases"), "change their lengths, or write them as parts of the run")


def _schedule(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """Pieces longer than the run, a decay that rises, and settings that a schedule of its kind has no use for."""
    steps, kind, asked = plan.get("budget.steps"), plan.get("schedule.kind"), loaded.recipe.schedule
    for key, piece in (("warmup", asked.warmup), ("anneal", asked.anneal)):
        if piece is not None and piece.unit != "share" and piece.value > steps:
            message = f"`schedule.{key}: {piece.value:g} steps` is more than the {steps} steps of the run"
            yield Problem(message, loaded.place(f"schedule.{key}"), "lower it, or write a part such as `20%`")
    final, lr = plan.get("schedule.final"), plan.get("schedule.lr")
    if asked.final is not None and final > lr:
        message = f"`schedule.final: {final:g}` is above the rate of the run, {lr:g}: it would rise at the end"
        yield Problem(message, loaded.place("schedule.final"), "lower it, or raise `schedule.lr`")
    merged = asked.anneal_by == "merge"
    unused = {"anneal": kind != "wsd" and not merged, "shape": kind != "wsd", "final": kind == "constant"}
    for key in (key for key, idle in unused.items() if idle and getattr(asked, key) is not None):
        message = f"`schedule.{key}` says how a held rate falls, and a {kind} schedule does not use it"
        yield Problem(message, loaded.place(f"schedule.{key}"), "remove it, or set `schedule.kind: wsd`")
