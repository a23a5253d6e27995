"""Whether a recipe's forgetting budget can be held at all: what to replay, something to lose, time to act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem

FAVOUR = (0.5, 3.0)
"""Bounds on what a curated source gets of the replay, in parts of what the recipe gives it."""

MEASUREMENTS = 8
"""Measurements, at least: with fewer there is nothing to steer by before the run is over (our choice)."""


def check_hold(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Refusals of `keep.hold`, each with what would make it work."""
    if not plan.get("keep.hold"):
        for key in (k for k in ("replay", "rate") if plan.origin(f"keep.{k}") == "user"):
            message = f"`keep.{key}` bounds what `keep.hold` does, and that is not asked for"
            yield Problem(message, loaded.place(f"keep.{key}"), "add `hold: true` under `keep`")
        return
    roles = {source.role for source in plan.sources}
    if plan.get("start.kind") == "scaffold":
        message = "`keep.hold` holds what the start knows, and a scaffold knows nothing"
        yield Problem(message, loaded.place("keep.hold"), "remove it, or choose another `start`")
    if roles != {"domain", "curated"}:
        missing = "curated data to replay" if "curated" not in roles else "domain data to blend it with"
        yield Problem(
            f"`keep.hold` needs {missing}, and there is none", loaded.place("keep.hold"), "add it, or remove it"
        )
        return
    if len(plan.arm().segments) > 1 or plan.get("data.order") != "shuffle":
        message = "`keep.hold` steers one blend from start to end, and this run has several, one after the other"
        place = loaded.place("phases") or loaded.place("data.order")
        yield Problem(message, place, "remove `phases` and any order of the data but shuffle, or `keep.hold`")
    yield from _within_bounds(loaded, plan)
    yield from _often_enough(loaded, plan)


def hold_notes(plan: Plan) -> Iterator[str]:
    """What the controller will not be able to do: more replay than the curated rows make up within their cap."""
    roles = {source.role for source in plan.sources}
    if not plan.get("keep.hold") or roles != {"domain", "curated"}:
        return
    wanted, known = plan.get("keep.replay")[1], plan.get("source_tokens")
    share = plan.arm().segments[0]["share"]
    curated = {source.name for source in plan.sources if source.role == "curated" and share.get(source.name)}
    inside = sum(share[name] for name in curated) or 1.0
    each = plan.get("data.repetition_cap") / plan.get("budget.tokens")
    found = highest(
        wanted,
        {name: share[name] / inside for name in curated},
        {name: each * known[name] if known.get(name) else 1.0 for name in curated},
    )
    if found < wanted - 0.005:
        yield (
            f"`keep.hold` can replay up to {found:.0%} of all tokens, not {wanted:.0%}: more would read curated rows "
            "beyond `data.repetition_cap`; where that is too little, the report will say so"
        )


def highest(wanted: float, parts: Mapping[str, float], most: Mapping[str, float]) -> float:
    """The most replay, up to `wanted`, that sources can make up: each at most `FAVOUR` times its part of the replay
    that there then is, and its own `most`."""

    def made(replay: float) -> float:
        return sum(min(FAVOUR[1] * part * replay, most[name]) for name, part in parts.items())

    if made(wanted) >= wanted:
        return wanted
    low, high = 0.0, wanted
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if made(middle) >= middle else (low, middle)
    return low


def _within_bounds(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    low, high = plan.get("keep.replay")
    replay = 1 - plan.get("data.share")
    if not low <= replay <= high:
        bounds = f"`keep.replay: [{low:g}, {high:g}]`"
        yield Problem(
            f"`data.share: {1 - replay:.4g}` begins with {replay:.4g} of replay, outside {bounds}",
            loaded.place("data.share") or loaded.place("keep.replay"),
            f"set `data.share` between {1 - high:.4g} and {1 - low:.4g}, or widen `keep.replay`",
        )


def _often_enough(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    steps, every = plan.get("budget.steps"), plan.get("eval.every")
    if steps // every < MEASUREMENTS:
        longer = f"at least {MEASUREMENTS * plan.get('optim.batch_tokens')} tokens of `budget`"
        yield Problem(
            f"`keep.hold` measures {steps // every} times in {steps} steps, and needs {MEASUREMENTS} to steer by",
            loaded.place("eval.every") or loaded.place("budget"),
            f"set `eval.every` to {steps // MEASUREMENTS} steps" if steps >= MEASUREMENTS else longer,
        )
