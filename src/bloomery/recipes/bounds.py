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
    warmup, anneal = plan.get("schedule.warmup"), plan.get("schedule.anneal")
    if plan.get("schedule.kind") == "wsd" and warmup + anneal > 1 + 1e-9:
        message = f"`schedule.warmup` and `schedule.anneal` take {warmup + anneal:.0%} of the run together"
        key = "schedule.anneal" if loaded.recipe.schedule.anneal is not None else "schedule.warmup"
        yield Problem(message, loaded.place(key), f"lower `{key}` until they take 100 % at most")
