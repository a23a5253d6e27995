"""A training by rewards in several processes: who makes rollouts, and by which weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bloomery.recipes.collecting import collecting
from bloomery.recipes.environments import host_of
from bloomery.recipes.plan import Plan
from bloomery.recipes.rewarding import saying
from bloomery.rl.config import RolloutSettings

if TYPE_CHECKING:
    from bloomery.recipes.training import ArmRun
    from bloomery.rl.loop import Collector
    from bloomery.rl.ranks import Maker
    from bloomery.train.trainer import Trainer


def across(plan: Plan, run: ArmRun, settings: RolloutSettings, trainer: Trainer) -> Collector:
    """What collects rollouts in every process of the run, all of which call this together.

    Training holds a part of the weights in each; one that makes rollouts has all of them once more, in the precision
    that training computes in. Whoever drives rollouts from outside finds one gateway, that of the first process.
    """
    from bloomery.rl.ranks import Across, Elsewhere
    from bloomery.rl.weights import whole

    told, world = plan.section("rollouts"), trainer.world
    places = (told["environment"] or {}).get("at_once") or world.size
    makers = 1 if told["orchestrators"] or _drives(told["environment"]) else min(world.size, places)
    inner: Maker = Elsewhere()
    model = None
    if world.rank < makers:
        inner, model = _maker(plan, run, settings, trainer, makers)
    return Across(inner, whole(trainer.masters.parameters, model), world.rank, makers, world.gathering())


def _maker(plan: Plan, run: ArmRun, settings: RolloutSettings, trainer: Trainer, makers: int) -> tuple[Maker, Any]:
    """A collector as one process has it, over a model of its own, and that model."""
    from bloomery.recipes.training import adapted_start
    from bloomery.rl.ranks import Whole
    from bloomery.train.precision import to_bf16

    told, world = plan.section("rollouts"), trainer.world
    own = adapted_start(plan, run.seed, device=str(world.device))
    if trainer.bf16:
        to_bf16(own.model)
    if not world.first:
        told = told | {"rescore": 0}  # the first process follows a judge's drift, for answers of all
    if told["environment"] and (most := told["environment"].get("at_once")):  # of all processes together
        told = told | {"environment": {**told["environment"], "at_once": most // makers}}
    # training does not touch the model: it needs no copy to be sampled meanwhile
    found: Any = collecting(told, replace(settings, staleness=0), own, run.folder, saying(trainer))
    return (Whole(found) if makers == 1 else found), own.model


def _drives(told: Mapping[str, Any] | None) -> bool:
    """Whether environments drive their rollouts themselves, through a gateway."""
    if not told:
        return False
    host = host_of(told)
    if host is not None:
        host.close()
    return host is None
