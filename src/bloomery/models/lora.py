"""Low-rank adapters through peft, in its file format. peft takes seconds to import, so it is imported when used.

The adapters are put into the model in place, so the model stays the Hugging Face class it was, and all that
holds for it (packing, head, decoding twin) holds for it adapted. LoRA: arXiv:2106.09685; adapting all linear
layers rather than query and value alone: arXiv:2305.14314 section 4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bloomery.core.errors import InputError, Where
from bloomery.core.files import building_folder, write_text
from bloomery.models import guard

ADAPTER = "default"
PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
KEPT_FIELDS = frozenset(
    "r lora_alpha lora_dropout target_modules exclude_modules bias use_rslora use_dora rank_pattern alpha_pattern "
    "layers_to_transform layers_pattern fan_in_fan_out".split()
)
"""Fields of an adapter_config.json that are followed; the others start work or name code that we do not want."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Rank, scale and where: `targets` is "all-linear" or names of linear layers.

    The update is scaled by alpha / rank, or with `rslora` by alpha / sqrt(rank), which keeps its size at any rank
    (arXiv 2312.03732).
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    rslora: bool = False


def add_lora(model: nn.Module, settings: LoraSettings, seed: int) -> list[str]:
    """Freeze the model and put trainable adapters beside its linear layers; returns the adapters' parameter names.

    B starts at zero, so the model computes what it did. Raises `InputError` when no layer bears a target's name.
    """
    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    fields = {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets,
        "use_rslora": settings.rslora,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _inject(model, fields)


def save_lora(model: nn.Module, folder: Path, base: str, card: str = "") -> None:
    """Publish the adapters as a peft folder, adapter_config.json (naming their `base`) and the weights."""
    adapted: Any = model
    config = adapted.peft_config[ADAPTER]
    tensors = {PREFIX + n.replace(f".{ADAPTER}.", "."): p.detach().cpu().contiguous() for n, p in _adapters(model)}
    settings = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    settings |= {"base_model_name_or_path": base, "inference_mode": True, "task_type": "CAUSAL_LM"}
    with building_folder(folder, {"kind": "adapter"}) as building:
        save_file(tensors, building / WEIGHTS, metadata={"format": "pt"})
        write_text(building / CONFIG, json.dumps(settings, indent=2, default=str) + "\n")
        # safetensors writes 0600; an adapter is for sharing as far as the umask lets any other file be
        (building / WEIGHTS).chmod((building / CONFIG).stat().st_mode)
        if card:
            write_text(building / "README.md", card)


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(fields that are followed, tensors) of an adapter in peft's layout.

    Raises `InputError` when the folder is unsafe or holds no LoRA.
    """
    guard.check_folder(folder)
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA":
        raise InputError(f"holds adapters of type {settings.get('peft_type')}, not LORA", where=Where(folder / CONFIG))
    return {k: v for k, v in settings.items() if k in KEPT_FIELDS and v is not None}, load_file(folder / WEIGHTS)


def load_lora(model: nn.Module, folder: Path) -> list[str]:
    """Put the adapters of a peft folder into `model`; returns their parameter names.

    Raises `InputError` when the folder is unsafe, holds no LoRA, or its shapes are of another base.
    """
    fields, tensors = read_adapter(folder)
    names = _inject(model, fields)
    _fill(model, tensors, folder)
    return names


def renew_lora(model: nn.Module, folder: Path) -> None:
    """Overwrite the adapters that `model` has by those of a peft folder, in place. Raises as `load_lora` does."""
    _fill(model, read_adapter(folder)[1], folder)


def is_adapted(model: nn.Module) -> bool:
    """Whether adapters are in it."""
    return next(iter(_adapters(model)), None) is not None


def rank_of(model: nn.Module) -> int:
    """The rank of the adapters that are in it."""
    adapted: Any = model
    return int(adapted.peft_config[ADAPTER].r)


@torch.no_grad()
def _fill(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    parameters = dict(_adapters(model))
    wanted = {name: PREFIX + name.replace(f".{ADAPTER}.", ".") for name in parameters}
    if set(wanted.values()) != set(tensors):
        other = sorted(set(wanted.values()) ^ set(tensors))[0]
        raise InputError(f"does not fit the base model: `{other}` is on one side only", where=Where(folder))
    for name, key in wanted.items():
        if parameters[name].shape != tensors[key].shape:
            raise InputError(f"does not fit the base model: `{key}` has another shape", where=Where(folder))
        parameters[name].copy_(tensors[key])


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Within it the model computes what it did before adapters were put in."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merge_lora(model: nn.Module) -> None:
    """Add every adapter to its layer's weight, in fp32, and take the adapters out again, in place."""
    from peft.tuners.lora import Linear

    for name, layer in list(model.named_modules()):
        if isinstance(layer, Linear):
            base: nn.Module = layer.get_base_layer()
            weight: Tensor = base.weight  # type: ignore[assignment]
            delta = layer.get_delta_weight(ADAPTER)
            weight.data = (weight.data.float() + delta.float()).to(weight.dtype)
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, base)
    del model.peft_config
    model._hf_peft_config_loaded = False  # type: ignore[assignment]
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def _inject(model: nn.Module, fields: dict[str, Any]) -> list[str]:
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    try:
        inject_adapter_in_model(LoraConfig(**fields), model, ADAPTER)
    except (ValueError, TypeError) as error:
        raise InputError(f"these adapters do not fit the model: {str(error)[:300]}", fix="use `all-linear`") from None
    names = [name for name, _ in _adapters(model)]
    for _, parameter in _adapters(model):
        parameter.requires_grad_(True)
    return names


def _adapters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(n, p) for n, p in model.named_parameters() if ".lora_" in n]
