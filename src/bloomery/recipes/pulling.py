"""The start beside a policy that rewards train: where the recipe measures how far it has gone, or holds it back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bloomery.recipes.plan import Plan
from bloomery.recipes.rollouts import asks_start, keeps_start

if TYPE_CHECKING:
    from bloomery.rl.pull import Pull, Start
    from bloomery.train.trainer import Trainer


def pull(plan: Plan, trainer: Trainer, seed: int) -> Pull | None:
    """The meter of the KL to the start and what acts by it; None where the recipe has no use for either."""
    if not asks_start(plan):
        return None
    from bloomery.rl.pull import Pull

    told = plan.section("rollouts")
    return Pull(_start(plan, trainer, seed), told["kl"], told["kl_every"], told["kl_cap"])


def _start(plan: Plan, trainer: Trainer, seed: int) -> Start:
    """The start by the trainer's own forward and in its precision."""
    from bloomery.models.lora import adapters_off
    from bloomery.recipes.training import load_start
    from bloomery.rl.pull import Start
    from bloomery.train.module import TrainModule
    from bloomery.train.place import place
    from bloomery.train.precision import to_bf16

    world = trainer.world
    size, temperature = trainer.config.micro_tokens, trainer.config.optim.policy.temperature
    if not keeps_start(plan):
        return Start(trainer.module, world, size, temperature, partial(adapters_off, trainer.module.model))
    loaded = load_start(plan, seed, world)
    module = TrainModule(loaded)
    place(module, loaded, world, trainer.bf16)
    if trainer.bf16 and world.size == 1:
        to_bf16(loaded.model)
    return Start(module, world, size, temperature)
