"""The KL to the start is measured on what was sampled, and pulls the policy back where it is asked to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import tiny
from attempts import attempt, task

from bloomery.engine.native import NativeEngine
from bloomery.graders.answers import Regex
from bloomery.models.lora import LoraSettings, adapters_off, add_lora
from bloomery.rl.config import RolloutSettings
from bloomery.rl.inside import Inside
from bloomery.rl.pull import Pull, Start, divergence
from bloomery.rl.rollouts import Task, sampled_rows
from bloomery.train.module import TrainModule
from bloomery.train.parallel import World

GROUPS = [[attempt(1.0, 2, task("g"), n, why="trained", advantage=1.0) for n in range(2)]]


def said(*logp: float) -> object:
    values = iter(logp)

    def start(rows):
        value = next(values)
        return [np.where(row.weight["pg"] != 0, np.float32(value), np.float32(0)) for row in rows]

    return start


def test_the_start_says_of_its_own_answers_what_it_said_and_adapters_do_not_count() -> None:
    loaded = tiny("llama")
    tasks = [Task("s", f"g{n}", {"messages": []}, np.arange(3, 15 + n, dtype=np.int32)) for n in range(2)]
    settings = RolloutSettings(4, 8, temperature=0.8)
    groups, _ = Inside(NativeEngine(loaded), Regex("a"), settings, lambda ids: "").collect(tasks, 0)
    rows = sampled_rows(groups)
    add_lora(loaded.model, LoraSettings(4), seed=0)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
    module, alone = TrainModule(loaded), World(0, 1, torch.device("cpu"))
    start = Start(module, alone, 60, 0.8, lambda: adapters_off(loaded.model))
    assert divergence(rows, start(rows)) < 1e-7
    assert divergence(rows, Start(module, alone, 60, 0.8)(rows)) > 1e-3  # the adapters are on again


def test_it_is_measured_as_often_as_asked_and_changes_nothing_by_that() -> None:
    rows = sampled_rows(GROUPS)
    pull = Pull(said(-1.5, -0.5), every=2)  # sampled at -0.5
    kept, figures = pull(rows, GROUPS, 0)
    assert kept == rows and figures == {"kl_start": pytest.approx(np.exp(-1) - 1 + 1)}
    assert pull(rows, GROUPS, 1)[1] == {} and pull(rows, GROUPS, 2)[1] == {"kl_start": 0.0}


def test_a_weight_puts_the_start_beside_the_policy_gradient() -> None:
    rows = sampled_rows(GROUPS)
    (first, _), figures = Pull(said(-1.5), weight=0.1)(rows, GROUPS, 3)
    assert figures == {} and first.weight["kl"].tolist() == first.weight["pg"].tolist() and first.logp_ref is not None
    assert first.logp_ref[first.weight["kl"] != 0].tolist() == [-1.5, -1.5]
    assert first.advantage is not None and first.advantage.max() == 1.0


def test_over_the_cap_rewards_wait_until_the_policy_is_back() -> None:
    rows = sampled_rows(GROUPS)
    pull = Pull(said(-1.5, -1.5, -0.6), every=5, cap=0.1)
    (first, _), figures = pull(rows, GROUPS, 0)
    assert figures["kl_start"] > 0.1 and figures["rewards_wait"] == 1.0
    assert first.advantage is not None and not first.advantage.any() and first.weight["kl"].any()
    assert pull.coefficient == {"kl": 1.0}
    kept, figures = pull(rows, GROUPS, 1)  # measured at once again
    assert figures["kl_start"] < 0.1 and figures["rewards_wait"] == 0.0 and "kl" not in kept[0].weight
    assert pull.coefficient == {}
