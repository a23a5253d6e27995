"""A 4-bit base for adapters (QLoRA, arXiv:2305.14314): nf4 with double quantisation, products in bf16; on GPU only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from bloomery.core.errors import InputError
from bloomery.models import guard
from bloomery.models.load import Loaded, ready, tokenizer_of


def require_qlora(device: str) -> None:
    """Raise `InputError`, naming the nearest method that fits, where a 4-bit base cannot be had."""
    if torch.device(device).type != "cuda":
        raise InputError(f"`method: qlora` needs a GPU, and training is on {device}", fix="use `method: lora`")
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "`method: qlora` needs bitsandbytes, which is not installed",
            fix="`pip install bitsandbytes`, or use `method: lora`",
        )


def load_quantised(folder: str | Path, device: str) -> Loaded:
    """The model of a folder with its linear layers in 4 bits, its head and embeddings in bf16, ready for `add_lora`.

    The adapters are merged into the folder's own weights, never into these. Raises as `require_qlora` and
    `load_model` do.
    """
    from transformers import BitsAndBytesConfig

    require_qlora(device)
    folder = Path(folder)
    guard.check_folder(folder)
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    opener: Any = AutoModelForCausalLM
    model = opener.from_pretrained(
        folder,
        dtype=torch.bfloat16,
        device_map={"": device},
        quantization_config=quantised,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    return ready(model, tokenizer_of(folder), folder, check=True)
