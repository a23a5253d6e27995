"""What follows from token counts: steps, batch, learning rate, segments, arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bloomery.core.errors import InputError
from bloomery.recipes import defaults, rollouts
from bloomery.recipes.fit import fitted
from bloomery.recipes.long_context import longest
from bloomery.recipes.machine import Machine, this_machine
from bloomery.recipes.mixing import by_category, shares
from bloomery.recipes.plan import Arm, Plan, Source, Value
from bloomery.recipes.start import start_of

EVALUATIONS = 8
"""Held-out losses and checkpoints in a run, unless asked otherwise."""

HELD_EVALUATIONS = 16
"""The same of held-out losses where a budget is held: each is an occasion to steer."""

MOST_STEPS_BETWEEN = 200


def settle(plan: Plan, tokens: Mapping[str, float], estimated: bool = False, machine: Machine | None = None) -> Plan:
    """The plan with everything that depends on `tokens` (by source name, of one epoch) decided again.

    Values that the user set stay. The same counts on the same machine (default: this one) give the same plan.
    """
    sources = plan.sources
    budget, why = _budget_tokens(plan, sources, tokens)
    values = _rates(plan, budget)
    steps = max(1, math.ceil(budget / values["optim.batch_tokens"].value))
    evaluations = HELD_EVALUATIONS if plan.get("keep.hold") else EVALUATIONS
    values |= {
        "estimated": Value(estimated, "derived"),
        "budget.tokens": Value(round(budget), *why),
        "budget.steps": Value(steps, "derived", "tokens over the batch"),
        "schedule.warmup": _piece(plan, "warmup", steps),
        "schedule.anneal": _piece(plan, "anneal", steps),
        "checkpoints.every": _every(plan, "checkpoints_every", steps, values["optim.batch_tokens"].value, EVALUATIONS),
        "eval.every": _every(plan, "eval_every", steps, values["optim.batch_tokens"].value, evaluations),
        "optim.settle": _settling(plan, steps),
        "source_tokens": Value({name: round(count) for name, count in tokens.items()}, "derived", "one epoch"),
    }
    settled = fitted(
        plan.updated(values), machine or this_machine(plan.get("memory.device"), plan.get("memory.precision"))
    )
    arms = [{**asdict(arm), "segments": list(arm.segments)} for arm in _arms(settled, tokens)]
    return settled.updated({"arms": Value(arms, plan.origin("asked.arms"))})


def _rates(plan: Plan, budget: float) -> dict[str, Value]:
    """Batch, learning rate and z-loss, where the user did not set them."""
    start, objective = start_of(plan), plan.get("objective")
    derived = _batch(plan, budget)
    batch = _users(plan, "optim.batch_tokens") or derived
    rate = defaults.learning_rate(start, objective, plan.get("method"), batch.value)
    lr = _users(plan, "schedule.lr") or rate
    kind = "constant" if plan.get("schedule.anneal_by") == "merge" else plan.get("schedule.kind")
    z = defaults.z_loss(kind, lr.value, plan.get("schedule.final"))
    return {"optim.batch_tokens": batch, "schedule.lr": lr, "optim.z_loss": _users(plan, "optim.z_loss") or z}


def _batch(plan: Plan, budget: float | None) -> Value:
    if plan.get("objective") == rollouts.RL:
        return rollouts.batch(plan, _mean_share(plan))
    return defaults.batch_tokens(start_of(plan), plan.get("objective"), budget, longest(plan))


def _settling(plan: Plan, steps: int) -> Value:
    warms_up = bool(_piece(plan, "warmup", steps).value)
    about = start_of(plan), plan.get("objective"), plan.get("method"), plan.get("optim.betas")[1]
    return _users(plan, "optim.settle") or defaults.settle_steps(*about, warms_up, steps)


def _users(plan: Plan, key: str) -> Value | None:
    value = plan.values.get(key)
    return value if value is not None and value.origin == "user" else None


def _budget_tokens(plan: Plan, sources: Sequence[Source], tokens: Mapping[str, float]) -> tuple[float, tuple[Any, str]]:
    """(tokens of the whole run, (origin, why)). Epochs count passes over the domain, replay comes on top."""
    ((unit, amount),) = plan.get("asked.budget").items()
    origin, given_why = plan.values["asked.budget"].origin, plan.values["asked.budget"].why
    if unit == "tokens":
        return amount, (origin, given_why)
    if unit == "steps":
        # A batch that is derived from the budget would go round in a circle: steps take the checkpoint's own.
        asked = _users(plan, "optim.batch_tokens")
        batch = asked or _batch(plan, None)
        return amount * batch.value, (origin, f"{amount:g} steps of {batch.value:,} tokens")
    role = "domain" if any(source.role == "domain" for source in sources) else "curated"
    if role == "domain" and not _mean_share(plan):
        raise InputError(
            f"`budget: {amount:g} epochs` counts passes over the domain, and `data.share: 0%` takes none of it",
            fix="write the budget in tokens, or raise `data.share`",
        )
    one = sum(tokens.get(source.name, 0.0) for source in sources if source.role == role)
    part = _mean_share(plan) if role == "domain" else 1 - _mean_share(plan)
    why = f"{amount:g} epoch{'s' * (amount != 1)} of {one:,.0f} {role} tokens, which are {part:.0%} of all"
    return max(1.0, amount * one / max(part, 1e-9)), (origin, why)


def _mean_share(plan: Plan) -> float:
    """Domain share over the whole run; a phase given in steps counts as an equal part."""
    phases = plan.get("asked.phases")
    usual: float = plan.get("data.share") if any(source.role == "curated" for source in plan.sources) else 1.0
    if not phases:
        return usual
    lengths = [phase["length"].get("share", 1 / len(phases)) for phase in phases]
    found = [usual if phase["share"] is None else phase["share"] for phase in phases]
    return float(sum(n * s for n, s in zip(lengths, found, strict=True)) / sum(lengths))


def _piece(plan: Plan, key: str, steps: int) -> Value:
    """A part of the run as a fraction of its steps."""
    asked = plan.values.get(f"asked.{key}")
    if asked is None:
        return plan.values[f"schedule.{key}"]
    ((unit, amount),) = asked.value.items()
    if unit == "share":
        return Value(amount, "user")
    return Value(min(1.0, amount / steps), "user", f"{amount:g} of {steps} steps")


def _every(plan: Plan, key: str, steps: int, batch: int, times: int) -> Value:
    """How many steps lie between two evaluations or checkpoints."""
    asked = plan.get(f"asked.{key}")
    if asked is None:
        each = max(1, min(MOST_STEPS_BETWEEN, math.ceil(steps / times)))
        return Value(each, "stage default", f"{times} times in the run, at least every {MOST_STEPS_BETWEEN} steps")
    ((unit, amount),) = asked.items()
    per_unit = {"steps": 1.0, "tokens": 1 / batch, "epochs": steps}[unit]
    return Value(max(1, round(amount * per_unit)), "user")


def _arms(plan: Plan, tokens: Mapping[str, float]) -> list[Arm]:
    """The blend, then the controls: what proof of not forgetting needs beside it."""
    sources, batch = plan.sources, plan.get("optim.batch_tokens")
    whole, steps = plan.get("budget.tokens"), plan.get("budget.steps")
    segments = tuple(_segments(plan, steps, tokens))
    domain_tokens = whole * _domain_part(sources, segments, steps)
    blend = Arm("blend", whole, steps, plan.get("data.share"), segments, "the recipe's blend")
    arms = [blend]
    for name in plan.get("asked.arms"):
        share = 0.0 if name == "curated-only" else 1.0
        used = domain_tokens if name == "domain-only" else whole
        count = max(1, math.ceil(used / batch))
        fractions = shares(sources, share, tokens)
        segments = ({"start": 0, "share": fractions},)
        arms.append(Arm(name, round(used), count, share, segments, _WHY[name]))
    return arms


def _domain_part(sources: Sequence[Source], segments: Sequence[Mapping[str, Any]], steps: int) -> float:
    """The domain's part of all tokens, by the steps that each segment lasts."""
    domain = {source.name for source in sources if source.role == "domain"}
    ends = [*(segment["start"] for segment in segments[1:]), steps]
    parts = (sum(share for name, share in segment["share"].items() if name in domain) for segment in segments)
    lengths = (end - segment["start"] for segment, end in zip(segments, ends, strict=True))
    return float(sum(length * part for length, part in zip(lengths, parts, strict=True)) / steps)


_WHY = {
    "domain-only": "what is forgotten without replay, at equal domain tokens",
    "domain-only-equal-total": "the same at equal total tokens",
    "curated-only": "what the schedule alone does to general loss: same start, tokens and schedule",
}


def _segments(plan: Plan, steps: int, tokens: Mapping[str, float]) -> list[dict[str, Any]]:
    """Shares by source from a step on; one segment a phase."""
    sources, usual = plan.sources, plan.get("data.share")
    phases = plan.get("asked.phases")
    if not phases:
        return [{"start": 0, "share": shares(sources, usual, tokens)}]
    found: list[dict[str, Any]] = []
    begin = 0
    for phase in phases:
        share = usual if phase["share"] is None else phase["share"]
        found.append({"start": begin, "share": shares(_in_phase(sources, phase["curated"]), share, tokens)})
        ((unit, amount),) = phase["length"].items()
        begin += round(amount * steps) if unit == "share" else round(amount)
    return [segment for segment in found if segment["start"] < steps]


def _in_phase(sources: Sequence[Source], curated: Mapping[str, float] | None) -> list[Source]:
    """The sources with the curated ones by the phase's own categories, where it has any."""
    if curated is None:
        return list(sources)
    domain = [source for source in sources if source.role == "domain"]
    return [*domain, *by_category([source for source in sources if source.role == "curated"], curated)]
