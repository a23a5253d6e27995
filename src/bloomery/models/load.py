"""Open a Hugging Face causal LM folder, or make one from a config, ready to train on packed rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bloomery.core.errors import DamagedError, InputError, Where, nearest
from bloomery.core.files import read_json
from bloomery.models import attention, guard, parity, template
from bloomery.models.fuse import fuse
from bloomery.models.head import Head, find_head
from bloomery.models.rotary import turn_by_document

ALIGNED = 64
"""Bytes at whose multiples tensors begin that torch makes itself."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")


@dataclass(slots=True)
class Loaded:
    """A model and what training must know about it.

    `packing` is "packed" (documents end to end, bounds given) or "padded" (one document a row, with a
    mask); `why` says what made it padded; `shares` whether packed documents that begin alike may have their beginning
    once. `folder` is None for a model made from a config.
    """

    model: nn.Module
    tokenizer: Any
    config: Any
    folder: Path | None
    packing: str
    why: str
    head: Head
    shares: bool = False


def load_model(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", check: bool = True
) -> Loaded:
    """Load weights (safetensors only), config and tokenizer, if there is one, of a folder on disk.

    `check=False` skips the comparison with the model's own logits and trusts packed rows.
    Raises `InputError` when the folder is unsafe or no causal LM, `DamagedError` when weights are missing or cut.
    """
    folder = Path(folder)
    guard.check_folder(folder)
    model = load_weights(folder, dtype).to(device)
    return ready(model, tokenizer_of(folder), folder, check)


def new_model(
    config: dict[str, Any], seed: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu", check: bool = True
) -> Loaded:
    """A model with random weights from the contents of a config.json; the same seed gives the same weights anywhere."""
    made = config_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(made, dtype=dtype)
    return ready(model.to(device), None, None, check)


def meta_model(folder: str | Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The folder's model without weights, on the meta device; `slices.py` reads what each rank keeps of them."""
    folder = Path(folder)
    guard.check_folder(folder)
    config = config_of(read_json(folder / "config.json"))
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a folder on disk, its chat template tried under limits of time and memory.

    Raises `InputError` when there is none or its files ask for code.
    """
    folder = Path(folder)
    guard.check_files(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"has no tokenizer that loads: {str(error)[:200]}", where=Where(folder)) from None
    template.check(tokenizer, Where(folder))
    return tokenizer


def tokenizer_of(folder: Path) -> Any:
    """`load_tokenizer`, or None where a folder has weights alone."""
    return load_tokenizer(folder) if any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def config_of(settings: dict[str, Any]) -> Any:
    """A transformers config object from the contents of a config.json."""
    from transformers import CONFIG_MAPPING

    kind = str(settings.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise InputError(f"`model_type: {kind}` is no architecture of transformers{nearest(kind, CONFIG_MAPPING)}")
    try:
        return AutoConfig.for_model(kind, **{k: _decoded(v) for k, v in settings.items() if k != "model_type"})
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"this config makes no {kind} model: {str(error)[:300]}") from None


def _decoded(value: Any) -> Any:
    """A value of config.json, where transformers writes infinity as {"__float__": "Infinity"}."""
    if isinstance(value, dict):
        return float(value["__float__"]) if set(value) == {"__float__"} else {k: _decoded(v) for k, v in value.items()}
    return [_decoded(v) for v in value] if isinstance(value, list) else value


def load_weights(folder: Path, dtype: torch.dtype) -> nn.Module:
    """The model alone, every parameter from the folder's safetensors. The folder must have passed the guard.

    Every load gives the same logits as the model that was written, in every dtype. Raises `DamagedError` for missing
    weights, which transformers would fill with random numbers.
    """
    opener: Any = AutoModelForCausalLM
    try:
        model, info = opener.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise DamagedError(f"a safetensors file is damaged: {error}", where=Where(folder)) from None
    except (StrictDataclassError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"is no causal LM that loads: {str(error)[:300]}", where=Where(folder)) from None
    missing = sorted(info["missing_keys"])
    if missing:
        raise DamagedError(f"lacks {len(missing)} of the model's weights, such as `{missing[0]}`", where=Where(folder))
    for parameter in model.parameters():
        parameter.data = aligned(parameter.data)
    loaded: nn.Module = model
    return loaded


def aligned(tensor: Tensor) -> Tensor:
    """`tensor`, copied where its memory begins elsewhere than torch's own, as in a mapped safetensors file.

    MKL multiplies a vector in another order there: in fp32 the same weights gave logits that differed by 1e-6.
    """
    return tensor.clone() if tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNED else tensor


def ready(model: nn.Module, tokenizer: Any, folder: Path | None, check: bool) -> Loaded:
    """Find the head, choose the attention (tried if `check`, else trusted to be packed) and set training mode."""
    turn_by_document(model)
    head = find_head(model)
    if check:
        verdict = parity.check(model, head)
    else:
        parity.use_attention(model, attention.NAME)
        fuse(model)
        verdict = parity.Verdict("packed", "", head)
    model.train()
    return Loaded(model, tokenizer, model.config, folder, verdict.packing, verdict.why, verdict.head, verdict.shares)
