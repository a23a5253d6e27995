"""Parameter groups: who decays, and whose rate is another one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bloomery.models.load import new_model
from bloomery.models.lora import LoraSettings, add_lora
from bloomery.train.config import Optim
from bloomery.train.optimiser import build_optimiser, set_lr

SHAPE = {"model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}  # fmt: skip


def adapted() -> dict[str, nn.Parameter]:
    model = new_model(dict(SHAPE), 0, check=False).model
    add_lora(model, LoraSettings(4), 0)
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def rates(optimiser: torch.optim.Optimizer) -> dict[int, float]:
    return {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}


@pytest.mark.parametrize("state", ["fp32", "bf16"])
def test_lora_plus_gives_b_its_multiple_of_the_rate_as_peft_does(state: str) -> None:
    from peft import get_peft_model
    from peft.optimizers import create_loraplus_optimizer
    from peft.tuners.lora import LoraConfig

    parameters = adapted()
    optimiser = build_optimiser(parameters, Optim(lora_plus=16.0, state_dtype=state))  # type: ignore[arg-type]
    for lr in (1e-3, 2e-4):
        set_lr(optimiser, lr)
        found = rates(optimiser)
        assert {found[id(p)] / lr for name, p in parameters.items() if ".lora_B." in name} == {16.0}
        assert {found[id(p)] / lr for name, p in parameters.items() if ".lora_A." in name} == {1.0}
    theirs = get_peft_model(new_model(dict(SHAPE), 0, check=False).model, LoraConfig(r=4, target_modules="all-linear"))
    wanted = rates(create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=2e-4, loraplus_lr_ratio=16))
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            own = parameters[name.removeprefix("base_model.model.")]
            assert wanted[id(parameter)] == found[id(own)], name


def test_without_it_all_learn_at_one_rate_and_only_matrices_outside_embeddings_decay() -> None:
    model = new_model(dict(SHAPE), 0, check=False).model
    optimiser = build_optimiser(dict(model.named_parameters()), Optim())
    set_lr(optimiser, 1e-3)
    assert set(rates(optimiser).values()) == {1e-3}
    decayed = {id(p) for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    wanted = {id(p) for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
    assert decayed == wanted
