"""Parts of a plan as the packages below take them: the loop's configuration, the blend's segments, sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bloomery.data.config import SourceSpec
from bloomery.recipes.curriculum import through_stages
from bloomery.recipes.defaults import SETTLE_PART
from bloomery.recipes.plan import Plan
from bloomery.recipes.rollouts import LOSS
from bloomery.train.config import Optim, Policy, Preference, Schedule, TrainConfig

if TYPE_CHECKING:
    from bloomery.core.rows import Segment


def train_config(plan: Plan, arm: str = "blend", seed: int | None = None) -> TrainConfig:
    """What the loop is told for one arm and one seed (default: the plan's)."""
    rate = plan.section("schedule")
    optim = plan.section("optim")
    memory = plan.section("memory")
    batch, settle = optim.pop("batch_tokens"), optim.pop("settle")
    steps = plan.arm(arm).steps
    optim |= _preference(plan) | _policy(plan)
    if plan.get("method") != "full":
        optim["lora_plus"] = plan.section("lora").get("plus") or 1.0
    assert batch > 0
    return TrainConfig(
        schedule=Schedule(steps=steps, **rate),
        optim=Optim(**(optim | {"betas": tuple(optim["betas"])}), state_dtype=memory["state"] or "fp32"),
        micro_tokens=memory["micro_tokens"],
        precision=memory["precision"],
        activation_checkpointing=bool(memory["activation_checkpointing"]),
        checkpoint_every=plan.get("checkpoints.every"),
        keep_last=plan.get("checkpoints.keep"),
        validate_every=plan.get("eval.every"),
        seed=plan.get("seed") if seed is None else seed,
        settle=min(settle, steps if plan.origin("optim.settle") == "user" else int(SETTLE_PART * steps)),
    )


def _preference(plan: Plan) -> dict[str, Any]:
    """The loss of preferences, and the weight of cross-entropy beside it."""
    told = plan.section("preference")
    if not told:
        return {}
    return {"coefficient": {"ce": told.pop("replay_weight")}, "preference": Preference(plan.get("objective"), **told)}


def _policy(plan: Plan) -> dict[str, Any]:
    """The loss of rewards, and the weight of cross-entropy beside it."""
    told = plan.section("rollouts")
    if not told:
        return {}
    coefficient = {"ce": told["replay_weight"], "kl": told["kl"]}
    return {"coefficient": coefficient, "policy": Policy(**{name: told[name] for name in LOSS})}


def segments(plan: Plan, arm: str = "blend") -> list[Segment]:
    """The arm's shares by source, and by stage where rows go from easy to hard, as the blend takes them."""
    from bloomery.core.rows import Segment

    chosen = plan.arm(arm)
    whole = [Segment(part["start"], dict(part["share"])) for part in chosen.segments]
    return through_stages(plan, whole, chosen.steps)


def source_specs(plan: Plan) -> dict[str, SourceSpec]:
    """Every source by name, with absolute paths."""
    return {source.name: SourceSpec.model_validate({**source.spec, "name": source.name}) for source in plan.sources}
