"""What the engine samples is what the trainer computes: at rate 0 and in fp32, token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import tiny

from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Sampling
from bloomery.rl.rollouts import Rollout, Task, token_row
from bloomery.train.batch import make_micro_batch, split_step
from bloomery.train.module import TrainModule

CPU = torch.device("cpu")


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "olmo2"])
def test_log_probabilities_of_sampler_and_trainer_agree(architecture: str) -> None:
    loaded, draw = tiny(architecture), np.random.default_rng(0)
    engine, module = NativeEngine(loaded), TrainModule(loaded)
    tasks = [Task("s", f"g{n}", {"id": n}, draw.integers(3, 97, 9 + 4 * n).astype(np.int32)) for n in range(3)]
    prompts = [task.prompt.tolist() for task in tasks for _ in range(4)]
    answers = engine.generate(prompts, Sampling(12, temperature=1.0, seed=5))
    rows = [
        token_row(Rollout(tasks[i // 4], i % 4, np.array(a.ids, np.int32), a.logprobs, "", True, 0))
        for i, a in enumerate(answers)
    ]
    seen = 0
    for chosen in split_step(rows, 200, 1, module.packing)[0]:
        batch = make_micro_batch([rows[i] for i in chosen], CPU, module.packing, rows[0])
        with torch.no_grad():
            logp, _ = module.log_probabilities(batch)
        real = batch.weight["pg"] > 0
        assert float((logp - batch.extra["logp_sampled"])[real].abs().max()) < 1e-4
        wanted = np.concatenate([np.array(answers[i].ids) for i in chosen])
        assert batch.targets[real].tolist() == wanted.tolist()
        seen += int(real.sum())
    assert seen == sum(len(answer.ids) for answer in answers)
