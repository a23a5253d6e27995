"""Open a Hugging Face causal LM folder, or make one from a config, ready to train on packed rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bloomery.core.errors import InputError, Where
from bloomery.models import attention
from bloomery.models.head import Head, find_head


@dataclass(slots=True)
class Loaded:
    """A model and what training must know about it.

    `packing` is "packed" (documents end to end, bounds given) or "padded" (one document a row, with a
    mask); `why` says what made it padded.
    """

    model: nn.Module
    tokenizer: Any
    config: Any
    folder: Path | None
    packing: str
    why: str
    head: Head


def load_model(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", check: bool = True
) -> Loaded:
    """Load weights (safetensors only), config and tokenizer of a folder on disk.

    Raises `InputError` when the folder is missing, unsafe or not a causal LM.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise InputError("is not a model folder: it has no config.json", where=Where(folder))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention.NAME, use_safetensors=True, local_files_only=True
    )
    return _ready(model.to(device), load_tokenizer(folder), folder, check)


def new_model(config: dict[str, Any], seed: int, *, dtype: torch.dtype = torch.float32, check: bool = True) -> Loaded:
    """A model with random weights from a config (the contents of a config.json); the same seed gives the same weights."""
    settings = {k: v for k, v in config.items() if k != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(made, dtype=dtype, attn_implementation=attention.NAME)
    return _ready(model, None, None, check)


def load_tokenizer(folder: str | Path) -> Any:
    """The fast tokenizer of a folder on disk."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _ready(model: nn.Module, tokenizer: Any, folder: Path | None, check: bool) -> Loaded:
    model.train()
    return Loaded(model, tokenizer, model.config, folder, "packed", "", find_head(model))
