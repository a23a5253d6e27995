"""Every family file names an architecture that transformers has: a tiny random model of it trains a step."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers
from packaging.version import Version
from toys import VOCABULARY, toy_config, toy_job, toy_rows
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from bloomery.core.resources import families_dir
from bloomery.families.registry import read_family
from bloomery.families.schema import FamilyFile
from bloomery.models.load import new_model
from bloomery.train.step import train_step
from bloomery.train.trainer import Trainer

PATHS = sorted([*families_dir().glob("*.yaml"), *families_dir().glob("*/family.yaml")])
SHAPE = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SPECIAL: dict[str, dict[str, Any]] = {
    "gpt_neox": {"num_key_value_heads": 4},
    "olmo3": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8},
    "nemotron_h": {
        "layers_block_type": ["mamba", "moe", "attention"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    },
}
EYES = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def file_of(path: Path) -> FamilyFile:
    return read_family(path).file


def kind_of(architecture: str) -> str | None:
    """The `model_type` that transformers makes this class from; None where this version has no such class."""
    kinds = [kind for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if name == architecture]
    plain = [kind for kind in kinds if kind.replace("_", "") in architecture.lower()]
    return (plain or kinds or [None])[0]


def settings(kind: str) -> dict[str, Any]:
    """A config.json of this kind with two layers or three, 32 wide, vocabulary of 128."""
    if kind == "gemma3":
        text = {**SHAPE, **SPECIAL["gemma3_text"], "model_type": "gemma3_text"}
        return {"model_type": kind, "text_config": text, "vision_config": EYES, "mm_tokens_per_image": 4}
    return {**SHAPE, "model_type": kind, **SPECIAL.get(kind, {})}


@cache
def trained(architecture: str, folder: Path) -> tuple[str, float, float, bool]:
    """Class of the model, loss of two steps on the same rows, and whether every weight that got a gradient moved."""
    kind = kind_of(architecture)
    assert kind is not None
    loaded = new_model(settings(kind), seed=0)
    trainer = Trainer(toy_job(folder, toy_config(), loaded=loaded))
    before = {name: p.detach().clone() for name, p in trainer.masters.parameters.items()}
    arguments = (toy_rows(0), 1e-2, trainer.config, trainer.world)
    first, second = (train_step(trainer.module, trainer.masters, trainer.optimiser, *arguments).loss for _ in range(2))
    moved = any(not before[name].equal(p.detach()) for name, p in trainer.masters.parameters.items())
    return type(loaded.model).__name__, first, second, moved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem if path.stem != "family" else path.parent.name)
def test_a_tiny_model_of_the_family_trains_a_step(path: Path, folder: Path) -> None:
    file = file_of(path)
    if kind_of(file.architecture) is None:
        least = f"transformers >= {file.transformers}" if file.transformers else "a later transformers"
        pytest.xfail(f"{file.name}: transformers {transformers.__version__} has no {file.architecture}: {least}")
    name, first, second, moved = trained(file.architecture, folder / file.architecture)
    assert name == file.architecture
    assert moved
    assert second < first < 20


def test_the_installed_transformers_is_new_enough_for_every_family() -> None:
    installed = Version(transformers.__version__)
    least = {file.name: file.transformers for file in map(file_of, PATHS) if file.transformers}
    assert least
    assert [name for name, version in least.items() if Version(version) > installed] == []


def test_a_class_that_transformers_does_not_have_is_noticed() -> None:
    assert kind_of("UnheardOfForCausalLM") is None
    assert kind_of("LlamaForCausalLM") == "llama"
    assert SHAPE["vocab_size"] >= VOCABULARY
