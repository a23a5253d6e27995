"""Write a trained model as an ordinary Hugging Face folder, and prove it before anyone can see it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import building_folder, read_json, write_json, write_text
from bloomery.models import parity
from bloomery.models.fuse import fuse
from bloomery.models.load import Loaded, aligned, load_weights

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def export_model(
    loaded: Loaded,
    folder: Path,
    *,
    state: Mapping[str, Tensor] | None = None,
    dtype: str = "bfloat16",
    card: str = "",
    generation: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Publish `folder`: config, safetensors in `dtype`, tokenizer, generation config, and README.md from `card`.

    `state` overrides parameters by their names in `loaded.model` (masters of a checkpoint). The folder is
    written beside its place, loaded again, compared tensor by tensor and logit by logit, bit for bit, and
    only then renamed. `generation` replaces keys of generation_config.json; `about` goes into the manifest.
    Raises `InputError` for adapters that are not merged, `DamagedError` when what was written differs.
    """
    if dtype not in DTYPES:
        raise InputError(f"`{dtype}` is no dtype of an export", fix=f"use one of {', '.join(DTYPES)}")
    expected = _expected(loaded.model, state or {}, DTYPES[dtype])
    with building_folder(folder, {"kind": "model", **(about or {})}) as building:
        expected.save_pretrained(building)
        _set_generation(building, loaded.tokenizer, generation or {})
        if loaded.tokenizer is not None:
            loaded.tokenizer.save_pretrained(building)
        if card:
            write_text(building / "README.md", card)
        for path in building.iterdir():
            # safetensors writes 0600; a model folder is for sharing, as far as the umask lets its config be
            path.chmod((building / "config.json").stat().st_mode)
        _compare(building, expected, DTYPES[dtype])


def _expected(model: nn.Module, state: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    """The model that the folder must give back: a copy in `dtype` with `state` in it."""
    names = dict(model.named_parameters())
    if any(".lora_" in name for name in names):
        raise InputError(
            "the model still has adapters", fix="merge them first (`merge_lora`), or save them with `save_lora`"
        )
    if unknown := sorted(set(state) - set(names)):
        raise InputError(f"`{unknown[0]}` is no parameter of the model")
    # what `state` replaces is not copied: the copy shares the old tensors until they are overwritten
    twin = copy.deepcopy(model, {id(p): p for p in names.values()})
    for name in names:
        value = state.get(name, names[name])
        owner, _, leaf = name.rpartition(".")
        held = aligned(value.detach().to("cpu", dtype))
        setattr(twin.get_submodule(owner), leaf, nn.Parameter(held, requires_grad=False))
    twin.tie_weights()  # type: ignore[operator]
    twin.config.dtype = dtype
    return twin.eval()  # buffers stay as they are: rotary frequencies are fp32 in every dtype


def _set_generation(building: Path, tokenizer: Any, changes: Mapping[str, Any]) -> None:
    """Generation stops at the tokenizer's end of sequence, unless the caller says otherwise."""
    path = building / "generation_config.json"
    settings = read_json(path) if path.is_file() else {}
    for key in ("eos_token_id", "bos_token_id", "pad_token_id"):
        if settings.get(key) is None and getattr(tokenizer, key, None) is not None:
            settings[key] = getattr(tokenizer, key)
    write_json(path, settings | dict(changes))


def _compare(building: Path, expected: Any, dtype: torch.dtype) -> None:
    again = load_weights(building, dtype).eval()
    found, wanted = dict(again.named_parameters()), dict(expected.named_parameters())
    for name, tensor in wanted.items():
        if name not in found or not torch.equal(found[name].to(tensor.dtype), tensor):
            raise DamagedError(f"`{name}` was written and reads back otherwise", where=Where(building))
        tensor.data = tensor.data.to(found[name].dtype)  # some architectures keep a few weights in fp32
    fuse(again)
    documents = parity.sample_documents(again)
    parity.use_attention(again, expected.config._attn_implementation)
    with torch.no_grad():
        pairs = [(expected(input_ids=d).logits, again(input_ids=d).logits) for d in documents]
    if not all(torch.equal(a, b) for a, b in pairs):
        raise DamagedError("the written model gives other logits than the trained one", where=Where(building))
