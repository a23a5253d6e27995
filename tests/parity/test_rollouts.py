"""What the engine samples is what the trainer computes: at rate 0 and in fp32, token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import tiny

from bloomery.engine.native import NativeEngine
from bloomery.graders.answers import Regex
from bloomery.rl.config import RolloutSettings
from bloomery.rl.inside import Inside
from bloomery.rl.rollouts import TRAINED, Task, token_rows
from bloomery.train.batch import make_micro_batch, split_step
from bloomery.train.module import TrainModule

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("architecture", "temperature"),
    [("llama", 1.0), ("qwen3", 1.0), ("gemma2", 1.0), ("olmo2", 1.0), ("llama", 1.7), ("gemma2", 0.6)],
)
def test_log_probabilities_of_sampler_and_trainer_agree(architecture: str, temperature: float) -> None:
    loaded, draw = tiny(architecture), np.random.default_rng(0)
    engine, module = NativeEngine(loaded), TrainModule(loaded)
    tasks = [
        Task("s", f"g{n}", {"id": n, "messages": []}, draw.integers(3, 97, 9 + 4 * n).astype(np.int32))
        for n in range(3)
    ]
    inside = Inside(engine, Regex("a"), RolloutSettings(4, 12, temperature=temperature), lambda ids: str(ids))
    groups, _ = inside.collect(tasks, 5)
    rollouts = [replace(one, why=TRAINED, advantage=1.0) for group in groups for one in group]
    rows = token_rows(rollouts, "tokens")
    assert len(rows) == 12
    seen = 0
    for chosen in split_step(rows, 200, 1, module.packing)[0]:
        batch = make_micro_batch([rows[i] for i in chosen], CPU, module.packing, rows[0])
        with torch.no_grad():
            logp, _ = module.log_probabilities(batch, temperature)
        real = batch.weight["pg"] > 0
        assert float((logp - batch.extra["logp_sampled"])[real].abs().max()) < 1e-4
        wanted = np.concatenate([np.array(rollouts[i].tree.turns[0].sampled) for i in chosen])
        assert batch.targets[real].tolist() == wanted.tolist()
        seen += int(real.sum())
    assert seen == sum(one.tree.sampled_tokens for one in rollouts)
