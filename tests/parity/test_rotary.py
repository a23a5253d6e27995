"""Frequencies that follow the length of the input: documents beside each other are turned as each is alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from architectures import BASE
from torch import Tensor

from bloomery.engine.decoder import CachedDecoder, decoding_twin
from bloomery.models.backbone import bounds_of, hidden_states, padded_hidden_states, positions_of
from bloomery.models.head import logits
from bloomery.models.load import Loaded, config_of, new_model

LENGTHS = (9, 3, 17, 6, 12)
ORIGINAL = 8
"""Shorter than some documents, longer than others."""

LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": ORIGINAL,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0}
SCALED: dict[str, dict[str, Any]] = {
    "llama-dynamic": {"model_type": "llama", "rope_parameters": DYNAMIC, "max_position_embeddings": ORIGINAL},
    "phi3-longrope": {"model_type": "phi3", "rope_parameters": LONG, "original_max_position_embeddings": ORIGINAL},
    "phimoe-longrope": {
        "model_type": "phimoe",
        "rope_parameters": LONG | {"short_mscale": 1.0, "long_mscale": 1.4},
        "num_local_experts": 4,
    },
    "stablelm-dynamic": {"model_type": "stablelm", "rope_parameters": DYNAMIC, "max_position_embeddings": ORIGINAL},
}


def documents() -> list[Tensor]:
    row = torch.randint(3, 97, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(3))
    return list(row.split(LENGTHS, 1))


def scaled(name: str) -> Loaded:
    loaded = new_model(BASE | SCALED[name], seed=0)
    loaded.model.eval()
    return loaded


def reference(loaded: Loaded) -> list[Tensor]:
    """Logits of each document by a model of transformers' own that has read nothing else."""
    from transformers import AutoModelForCausalLM

    fresh = AutoModelForCausalLM.from_config(config_of(BASE | SCALED[loaded.config.model_type + "-" + _kind(loaded)]))
    fresh.load_state_dict(loaded.model.state_dict())
    found = []
    for document in documents():
        alone = copy.deepcopy(fresh).eval()
        with torch.no_grad():
            found.append(alone(input_ids=document, use_cache=False).logits[0].float())
    return found


def _kind(loaded: Loaded) -> str:
    return str(loaded.config.rope_parameters["rope_type"])


def ours(loaded: Loaded) -> list[Tensor]:
    """Logits of the same documents in one packed row, or in padded rows where the architecture needs them."""
    parts = documents()
    with torch.no_grad():
        if loaded.packing == "packed":
            bounds = bounds_of(LENGTHS)
            hidden = hidden_states(loaded.model, torch.cat(parts, 1), positions_of(bounds), bounds)[0]
            return list(logits(hidden, loaded.head).split(LENGTHS))
        longest = max(LENGTHS)
        padded = torch.cat([torch.nn.functional.pad(d, (0, longest - d.shape[1])) for d in parts])
        mask = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None]).long()
        hidden = padded_hidden_states(loaded.model, padded, mask)
        return [logits(hidden[i, :n], loaded.head) for i, n in enumerate(LENGTHS)]


@pytest.mark.parametrize("name", SCALED)
def test_documents_of_all_lengths_have_the_logits_each_has_alone(name: str) -> None:
    loaded = scaled(name)
    wanted = reference(loaded)
    for _ in range(2):  # what was read before counts for nothing
        for got, alone in zip(ours(loaded), wanted, strict=True):
            assert float((got - alone).abs().max()) < 1e-4 * float(alone.abs().max())


def test_prompts_of_all_lengths_are_read_as_each_is_alone() -> None:
    loaded = scaled("phi3-longrope")
    with torch.no_grad():
        got = CachedDecoder(decoding_twin(loaded.model)).start([d[0].tolist() for d in documents()], 1)
    for row, alone in zip(got, reference(loaded), strict=True):
        assert float((row - alone[-1]).abs().max()) < 1e-4 * float(alone.abs().max())
