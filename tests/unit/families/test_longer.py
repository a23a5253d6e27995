"""A longer context is told to rotary embeddings as published models were told, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.families.longer import longer
from bloomery.families.scaffold import scaffold

PLAIN = {"model_type": "llama", "max_position_embeddings": 4096, "rope_theta": 10_000.0}
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192, "attention_factor": 1.2}


def test_the_base_rises_as_llama_2_longs_did() -> None:
    found, why = longer(PLAIN, 32_768)
    assert found["rope_parameters"] == {"rope_type": "default", "rope_theta": 500_000.0}
    assert found["max_position_embeddings"] == 32_768
    assert "rope_theta" not in found and "10,000 to 500,000" in why


def test_a_model_that_is_scaled_by_yarn_gets_another_factor_on_layers_that_see_everything() -> None:
    config = {"model_type": "olmo3", "max_position_embeddings": 65_536, "rope_theta": 5e5, "rope_scaling": YARN}
    found, _ = longer(config, 131_072)
    full, window = found["rope_parameters"]["full_attention"], found["rope_parameters"]["sliding_attention"]
    assert (full["rope_type"], full["factor"], full["rope_theta"]) == ("yarn", 16.0, 5e5)
    assert "attention_factor" not in full and "rope_scaling" not in found
    assert window == {"rope_type": "default", "rope_theta": 5e5}


def test_yarn_may_be_asked_for_and_what_fits_already_is_left_alone() -> None:
    found, _ = longer(PLAIN, 8192, "yarn")
    assert found["rope_parameters"]["factor"] == 2.0
    assert found["rope_parameters"]["original_max_position_embeddings"] == 4096
    assert longer(PLAIN, 4096)[0] == PLAIN


@pytest.mark.parametrize("rope", ["abf", "yarn"])
@pytest.mark.parametrize("shape", ["llama", "qwen3", "olmo3"])
def test_the_longer_model_builds_and_its_packed_rows_are_exact(shape: Any, rope: Any) -> None:
    from bloomery.models.load import new_model

    config, _ = longer(scaffold(shape, 300, depth=2, context=64).config, 256, rope)
    loaded = new_model(config, 0)
    assert loaded.packing == "packed", loaded.why
    told = loaded.config.rope_parameters
    full = told.get("full_attention", told)
    assert full["rope_type"] == ("default" if rope == "abf" else "yarn")
    assert loaded.config.max_position_embeddings == 256
    if shape == "olmo3":
        assert told["sliding_attention"]["rope_theta"] == 10_000.0


def test_ember_can_be_told() -> None:
    config = json.loads((families_dir() / "ember" / "scaffold" / "config.json").read_text())
    assert longer(config, 2048)[0]["rope_parameters"]["rope_theta"] > 10_000


@pytest.mark.parametrize(
    ("config", "rope", "said"),
    [
        ({"model_type": "gpt2", "max_position_embeddings": 1024}, "auto", "no rotary"),
        ({**PLAIN, "rope_scaling": {"type": "llama3", "factor": 8.0}}, "auto", "scaled by `llama3`"),
        ({**PLAIN, "rope_scaling": YARN}, "abf", "scaled by `yarn`"),
    ],
)
def test_what_cannot_be_told_is_refused(config: dict[str, Any], rope: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        longer(config, 100_000, rope)
