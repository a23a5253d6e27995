"""`memory: auto`: the fastest setting that fits, tried in order of what each costs in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bloomery.recipes.defaults import longest_row
from bloomery.recipes.long_context import longest
from bloomery.recipes.machine import Machine
from bloomery.recipes.memory import ModelShape, Need, lora_parameters, shape_of, training_bytes
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.rollouts import RL, keeps_start, trained_tokens
from bloomery.recipes.start import start_of

HEADROOM = 0.9
"""Part of the free memory that a run plans to take."""

CPU_MICRO_TOKENS, GPU_MICRO_TOKENS = 4096, 16384
"""Larger micro-batches bring nothing on a CPU; a GPU needs them to be busy."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What can be traded for memory."""

    micro_tokens: int
    checkpointing: bool
    state: Literal["fp32", "bf16"]
    why: str


def fitted(plan: Plan, machine: Machine) -> Plan:
    """The plan with its memory section decided: the first setting that fits, else the smallest one.

    Where the model's configuration is not on this machine nothing can be counted; then the first one is taken.
    """
    shape = shape_of(start_of(plan).config())
    settings = _settings(plan, machine)
    limit = memory_limit(plan, machine)
    chosen = settings[0]
    if shape is not None and limit is not None:
        fits = (s for s in settings if need(plan, shape, s, machine).total <= limit)
        chosen = next(fits, settings[-1])
    asked = {key: plan.values[f"memory.{key}"] for key in ("micro_tokens", "activation_checkpointing", "state")}
    found = {
        "micro_tokens": chosen.micro_tokens,
        "activation_checkpointing": chosen.checkpointing,
        "state": chosen.state,
    }
    return plan.updated(
        {
            f"memory.{k}": asked[k] if asked[k].origin == "user" else Value(v, "derived", chosen.why)
            for k, v in found.items()
        }
    )


def memory_limit(plan: Plan, machine: Machine) -> int | None:
    """Bytes the run may take; None when neither the recipe nor the system says."""
    asked: int | None = plan.get("memory.limit")
    return asked if asked is not None else int(machine.memory * HEADROOM) if machine.memory is not None else None


def planned(plan: Plan) -> Setting:
    """The setting in a fitted plan."""
    memory = plan.section("memory")
    return Setting(memory["micro_tokens"], bool(memory["activation_checkpointing"]), memory["state"] or "fp32", "")


def need(plan: Plan, shape: ModelShape, setting: Setting, machine: Machine) -> Need:
    """Bytes of a training step of this plan under a setting."""
    found = training_bytes(
        shape,
        setting.micro_tokens,
        bf16=machine.bf16,
        state=setting.state,
        checkpointing=setting.checkpointing,
        trainable=None if plan.get("method") == "full" else trainable_parameters(plan, shape),
        quantised=plan.get("method") == "qlora" and machine.kind == "cuda",
        averaged=plan.get("schedule.anneal_by") == "merge",
        document_tokens=min(longest(plan), plan.get("document_tokens")) if machine.kind == "cpu" else None,
    )
    beside = shape.parameters * (2 if machine.bf16 else 4) if keeps_start(plan) else 0
    return replace(found, weights=found.weights + beside)


def trainable_parameters(plan: Plan, shape: ModelShape) -> int:
    """All weights, or those of the adapters."""
    if plan.get("method") == "full":
        return shape.parameters
    return lora_parameters(shape, plan.get("lora.rank"), plan.get("lora.target"))


def _settings(plan: Plan, machine: Machine) -> list[Setting]:
    """Every setting the user allows, fastest first."""
    context, batch = longest_row(plan.get("objective"), longest(plan)), plan.get("optim.batch_tokens")
    if plan.get("objective") == RL:
        group, batch = trained_tokens(plan)
        context = max(context, group)
    usual = GPU_MICRO_TOKENS if machine.kind == "cuda" else CPU_MICRO_TOKENS
    most = max(context, min(usual, batch + context))  # a step strays from the batch by up to a row: still one pass
    sizes = [most]
    while sizes[-1] > context:
        sizes.append(max(context, sizes[-1] // 2))
    asked = {key: plan.values[f"memory.{key}"] for key in ("micro_tokens", "activation_checkpointing", "state")}
    users = {key: value.value for key, value in asked.items() if value.origin == "user" and value.value is not None}
    sizes = [users["micro_tokens"]] if "micro_tokens" in users else sizes
    states: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16") if machine.kind == "cuda" else ("fp32",)
    states = (users["state"],) if "state" in users else states
    recompute = (users["activation_checkpointing"],) if "activation_checkpointing" in users else (False, True)
    return [
        Setting(size, again, state, _why(size == sizes[0], again, state, machine))
        for state in states
        for again in recompute
        for size in sizes
    ]


def _why(first: bool, again: bool, state: str, machine: Machine) -> str:
    if first and not again and state == "fp32":
        return f"fits on {machine.name}"
    steps = [] if first else ["smaller micro-batches"]
    steps += ["recomputed activations"] if again else []
    steps += ["bf16 optimiser state"] if state == "bf16" else []
    return f"fits on {machine.name} only with {', '.join(steps)}"
