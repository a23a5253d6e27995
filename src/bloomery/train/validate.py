"""Held-out loss during a run, in the run's own precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bloomery.core.rows import TokenRow
from bloomery.train.batch import denominators, make_micro_batch, split_step
from bloomery.train.config import TrainConfig
from bloomery.train.module import TrainModule
from bloomery.train.parallel import World
from bloomery.train.preference import SUMS, against_baseline, figures, preference

NATS_PER_BIT = 0.6931471805599453


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows never trained on; `text_bytes` is the size of their trained text in UTF-8, 0 where it is not text."""

    name: str
    rows: Sequence[TokenRow]
    text_bytes: int = 0


@torch.no_grad()
def held_out_loss(module: TrainModule, held_out: HeldOut, config: TrainConfig, world: World) -> dict[str, float]:
    """`{"loss": nats per trained token, "bits_per_byte": ...}`, the second only for text; of preferences, their loss
    and their rewards."""
    if any("pref" in row.weight for row in held_out.rows):
        return _preferences(module, held_out, config, world)
    total = torch.zeros((), dtype=torch.float64)
    weight = torch.zeros((), dtype=torch.float64)
    module.eval()
    for chosen in split_step(held_out.rows, config.micro_tokens, world.size, module.packing)[world.rank]:
        batch = make_micro_batch([held_out.rows[i] for i in chosen], world.device, module.packing, held_out.rows[0])
        logp, _ = module.score(batch)  # a rank without rows too: what is sharded is gathered by all of them
        if "ce" in batch.weight:
            total -= (logp.double() * batch.weight["ce"]).sum().cpu()
            weight += batch.weight["ce"].sum().cpu()
    module.train()
    sums = world.sum({"nats": float(total), "weight": float(weight)})
    found = {"loss": sums["nats"] / max(sums["weight"], 1.0)}
    if held_out.text_bytes:
        found["bits_per_byte"] = sums["nats"] / NATS_PER_BIT / held_out.text_bytes
    return found


def _preferences(module: TrainModule, held_out: HeldOut, config: TrainConfig, world: World) -> dict[str, float]:
    rows = against_baseline(module, held_out.rows, config.micro_tokens, world)
    totals = dict.fromkeys(("pref", *SUMS), 0.0)
    module.eval()
    for chosen in split_step(rows, config.micro_tokens, world.size, module.packing)[world.rank]:
        batch = make_micro_batch([rows[i] for i in chosen], world.device, module.packing, rows[0])
        logp, _ = module.score(batch)
        if "pref" in batch.weight:
            loss, sums = preference(logp, batch, config.optim.preference)
            for name, value in {"pref": loss, **sums}.items():
                totals[name] += float(value)
    module.train()
    totals = world.sum(totals)
    groups = denominators(rows)["pref"]
    return {"loss": totals["pref"] / groups, **figures(totals, groups)}
