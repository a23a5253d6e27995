"""Pieces of a folder's safetensors, so that each rank of a sharded run reads only what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file of a model folder holds each tensor. Raises `InputError` when there are no safetensors."""
    if (folder / INDEX).is_file():
        return {name: folder / file for name, file in read_json(folder / INDEX)["weight_map"].items()}
    if not (folder / SINGLE).is_file():
        raise InputError(f"has neither {SINGLE} nor {INDEX}", where=Where(folder))
    with opened(folder / SINGLE) as file:
        return dict.fromkeys(file.keys(), folder / SINGLE)


def read_slices(folder: Path, name: str, slices: tuple[slice, ...] = ()) -> Tensor:
    """`tensor[slices]` of one tensor of a model folder, on the CPU; only those bytes are read."""
    files = tensor_files(folder)
    if name not in files:
        raise DamagedError(f"holds no tensor `{name}`", where=Where(folder))
    return _read(files[name], name, slices)


def saved_names(model: nn.Module) -> list[str]:
    """Parameters and saved buffers of a model; tied parameters once, under their first name."""
    parts = model.named_modules()
    unsaved = {f"{path}.{name}".lstrip(".") for path, part in parts for name in part._non_persistent_buffers_set}
    return [name for name, _ in [*model.named_parameters(), *model.named_buffers()] if name not in unsaved]


def sliceable(folder: Path, model: nn.Module) -> bool:
    """Whether the folder names its tensors as the model does: transformers renames or joins some while loading."""
    return set(saved_names(model)) <= set(tensor_files(folder))


def read_model(folder: Path, model: nn.Module, ranges: dict[str, tuple[slice, ...]]) -> Iterator[tuple[str, Tensor]]:
    """(name, piece) for every one of `saved_names`, whole where `ranges` names no slices; only those bytes are read.

    Raises `InputError` when the folder is not `sliceable`.
    """
    if not sliceable(folder, model):
        raise InputError(
            "names its tensors otherwise than the model does, so slices of them cannot be read",
            where=Where(folder),
            fix="load the whole model on every rank",
        )
    files = tensor_files(folder)
    for name in saved_names(model):
        yield name, _read(files[name], name, ranges.get(name, ()))


def _read(path: Path, name: str, slices: tuple[slice, ...]) -> Tensor:
    with opened(path) as file:
        tensor: Tensor = file.get_slice(name)[slices] if slices else file.get_tensor(name)
        return tensor.clone()  # the file is mapped: what was read must not change with it


def opened(path: Path) -> safe_open:
    """A safetensors file, mapped. Raises `DamagedError` for one that is cut or none."""
    try:
        return safe_open(path, framework="pt", device=str(torch.device("cpu")))
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"is no whole safetensors file: {error}", where=Where(path)) from None
