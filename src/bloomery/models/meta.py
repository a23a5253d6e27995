"""Open a folder without its weights, for a sharded run: each rank then reads only the rows that it keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from bloomery.core.files import read_json
from bloomery.models import parity
from bloomery.models.head import find_head
from bloomery.models.load import Loaded, config_of, load_model, meta_model, new_model, tokenizer_of
from bloomery.models.rotary import turn_by_document
from bloomery.models.slices import saved_names, sliceable

LEAST_LAYERS = 2


def load_meta(folder: str | Path) -> Loaded:
    """The folder's model on the meta device, in fp32; `train/place.py` puts weights into it.

    How it is run (packed or padded, which head) is found on a model of the same config with random weights and as
    few layers as have all kinds of layer, on the CPU of every rank. A folder comes whole whose tensors are renamed
    while loading, or whose architecture does not make its unsaved buffers again. Raises `InputError` as `load_model`.
    """
    folder = Path(folder)
    model = meta_model(folder)
    settings = shallow(read_json(folder / "config.json"))
    tried = new_model(settings, 0)
    if not sliceable(folder, model) or not _same_buffers(settings, tried.model):
        return load_model(folder)
    turn_by_document(model)
    parity.use_attention(model, str(tried.config._attn_implementation))
    head = replace(tried.head, linear=find_head(model).linear)
    model.train()
    return replace(tried, model=model, tokenizer=tokenizer_of(folder), config=model.config, folder=folder, head=head)


def shallow(config: dict[str, Any]) -> dict[str, Any]:
    """The contents of a config.json with the first layers only: one of each kind, at least two."""
    kinds = config.get("layer_types")
    layers = LEAST_LAYERS if not kinds else max(LEAST_LAYERS, *(kinds.index(kind) + 1 for kind in set(kinds)))
    few: dict[str, Any] = {k: min(layers, config[k]) for k in ("num_hidden_layers", "n_layer") if k in config}
    return {**config, **few, **({"layer_types": kinds[:layers]} if kinds else {})}


def _same_buffers(settings: dict[str, Any], real: nn.Module) -> bool:
    """Whether `allocate` gives a model of these settings the buffers that its own code gives it."""
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(config_of(settings))
    allocate(made, torch.device("cpu"))
    unsaved = set(dict(made.named_buffers())) - set(saved_names(made))
    mine, own = dict(made.named_buffers()), dict(real.named_buffers())
    return all(torch.equal(mine[name], own[name].to(mine[name].device)) for name in unsaved)


def on_meta(model: nn.Module) -> bool:
    """Whether the model has no weights yet."""
    return any(parameter.is_meta for parameter in model.parameters())


@torch.no_grad()
def allocate(model: nn.Module, device: torch.device) -> None:
    """Give a model on meta its memory: parameters undefined, tied ones still tied, unsaved buffers with their values.

    Rotary frequencies and the like are in no file: transformers' own `_init_weights` makes them again.
    """
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, name))
    model.to_empty(device=device)
    for (first, name), *others in places.values():
        for module, other in others:
            module._parameters[other] = first._parameters[name]
    for parameter in model.parameters():
        parameter._is_hf_initialized = True  # type: ignore[attr-defined]  # these come from the folder
    initialise: Any = model._init_weights
    for module in model.modules():
        if module._non_persistent_buffers_set:
            initialise(module)
