"""Merge model folders of one architecture and one vocabulary, tensor by tensor, so that no model is ever loaded whole.

The first model gives the result its files, its layout and its dtype; `merge_rules.py` says how weights are combined.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from bloomery.core.errors import DamagedError, InputError, Where, nearest
from bloomery.core.files import MANIFEST, building_folder, read_json, verify_ours, write_json, write_text
from bloomery.models import guard
from bloomery.models.load import config_of, meta_model
from bloomery.models.merge_rules import ON_BASE, RULES, Merge
from bloomery.models.slices import INDEX, SINGLE, opened, tensor_files

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
"""Types of weights that are merged, by their names in safetensors; all others must be equal, and are kept."""

LEFT_BEHIND = (MANIFEST, INDEX, "data-receipt.json", "README.md")
COPIED = (".json", ".jinja", ".model", ".txt")
HARMLESS = frozenset(
    "_name_or_path transformers_version dtype torch_dtype use_cache architectures bos_token_id eos_token_id "
    "pad_token_id max_position_embeddings initializer_range".split()
)
"""Keys of a configuration that may differ: they change no weight's meaning."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a model folder, read one at a time; tied ones once."""

    folder: Path
    files: Mapping[str, Path]
    handles: Mapping[Path, Any]

    def read(self, name: str) -> Tensor:
        """One tensor. Raises `InputError` where it holds NaN or infinity: no sum of it means anything."""
        tensor: Tensor = self.handles[self.files[name]].get_tensor(name)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"`{name}` holds NaN or infinity", where=Where(self.folder), fix="merge another model")
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape, without reading it."""
        return tuple(self.handles[self.files[name]].get_slice(name).get_shape())

    def kind(self, name: str) -> str:
        """Its type, as safetensors calls it."""
        return str(self.handles[self.files[name]].get_slice(name).get_dtype())


def merge_models(
    models: Sequence[Path],
    folder: Path,
    merge: Merge,
    *,
    base: Path | None = None,
    card: str = "",
    about: Mapping[str, Any] | None = None,
) -> None:
    """Publish `folder`, the models merged: an ordinary Hugging Face folder, whole or not at all.

    Arithmetic is in fp32, the result in the dtype of the first model; needs memory for a few copies of the largest
    tensor. `about` goes into the manifest. Raises `InputError` naming the key, token or tensor in which the models
    differ, and for NaN; `DamagedError` for folders of ours whose bytes changed.
    """
    merge.check_models(len(models), base is not None)
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    given = [*models, *([base] if base else [])]
    for one in given:
        guard.check_folder(one)
        verify_ours(one)
    for other in given[1:]:
        _same_config(given[0], other)
        _same_vocabulary(given[0], other)
    with contextlib.ExitStack() as stack:
        weights = [_weights(one, stack) for one in given]
        for found in weights[1:]:
            _same_tensors(weights[0], found)
        with building_folder(folder, {"kind": "model", **(about or {})}) as building:
            _copy_files(models[0], building)
            _write_weights(building, weights[: len(models)], weights[-1] if base else None, merge)
            if card:
                write_text(building / "README.md", card)
            for path in building.iterdir():
                path.chmod((building / "config.json").stat().st_mode)


def _weights(folder: Path, stack: contextlib.ExitStack) -> Weights:
    files = tensor_files(folder)
    tied: Mapping[str, str] = getattr(meta_model(folder), "all_tied_weights_keys", {})
    once = {name: file for name, file in files.items() if tied.get(name) not in files}
    handles = {file: stack.enter_context(opened(file)) for file in dict.fromkeys(once.values())}
    held = {file: set(handle.keys()) for file, handle in handles.items()}
    if lost := sorted(name for name, file in once.items() if name not in held[file]):
        raise DamagedError(f"holds no tensor `{lost[0]}`, which its index names", where=Where(once[lost[0]]))
    return Weights(folder, once, handles)


def _same_config(one: Path, other: Path) -> None:
    first, second = (_plain(config_of(read_json(place / "config.json")).to_dict()) for place in (one, other))
    for key in sorted(set(first) | set(second)):
        if first.get(key) != second.get(key):
            raise InputError(
                f"`{key}` is {first.get(key)} in {one} and {second.get(key)} here: their weights do not mean the same",
                where=Where(other / "config.json"),
                fix="merge models of one architecture, made from one start",
            )


def _plain(config: Any) -> Any:
    if not isinstance(config, dict):
        return config
    return {key: _plain(value) for key, value in config.items() if key not in HARMLESS}


def _same_vocabulary(one: Path, other: Path) -> None:
    """Refuse models in which a number is another token. Special tokens may be renamed, as chat models do."""
    if not any((place / TOKENIZER).is_file() for place in (one, other)):
        return
    first, second = _vocabulary(one), _vocabulary(other)
    for token in sorted(first.keys() & second.keys()):
        if first[token] != second[token]:
            numbers = f"{first[token]} in {one} and {second[token]} here"
            raise InputError(f"the token {token!r} is number {numbers}", where=Where(other), fix=SAME_TOKENIZER)
    plain = {*_numbered(one), *_numbered(other)}
    if alone := sorted(plain & (first.keys() ^ second.keys())):
        raise InputError(
            f"the token {alone[0]!r} is only in the vocabulary of one of {one} and this model",
            where=Where(other),
            fix=SAME_TOKENIZER,
        )


SAME_TOKENIZER = "merge models that share a tokenizer"


TOKENIZER = "tokenizer.json"


def _vocabulary(folder: Path) -> dict[str, int]:
    """Number of each token, added ones too. Raises `InputError` for what cannot be compared."""
    added = _tokenizer(folder).get("added_tokens", [])
    return _numbered(folder) | {one["content"]: one["id"] for one in added}


def _numbered(folder: Path) -> dict[str, int]:
    """Number of each token of the vocabulary: a mapping, or pieces in order with their scores (Unigram)."""
    known = _tokenizer(folder).get("model", {}).get("vocab")
    if isinstance(known, list):
        return {str(piece): number for number, (piece, _) in enumerate(known)}
    if not isinstance(known, dict):
        raise InputError(
            "has no vocabulary that could be compared", where=Where(folder / TOKENIZER), fix=SAME_TOKENIZER
        )
    return known


def _tokenizer(folder: Path) -> dict[str, Any]:
    path = folder / TOKENIZER
    found = read_json(path) if path.is_file() else None
    if not isinstance(found, dict):
        what = "is no tokenizer" if path.is_file() else "is missing, and the other model has one"
        raise InputError(what, where=Where(path), fix=SAME_TOKENIZER)
    return found


def _same_tensors(one: Weights, other: Weights) -> None:
    if alone := sorted(one.files.keys() ^ other.files.keys()):
        owner, lacking = (one, other) if alone[0] in one.files else (other, one)
        near = nearest(alone[0], lacking.files) if len(lacking.files) < 10_000 else ""
        raise InputError(
            f"has no tensor `{alone[0]}`{near}, which {owner.folder} has",
            where=Where(lacking.folder),
            fix="merge models of one architecture",
        )
    for name in one.files:
        if one.shape(name) != other.shape(name):
            shapes = f"{list(one.shape(name))} in {one.folder} and {list(other.shape(name))} here"
            raise InputError(f"`{name}` has the shape {shapes}", where=Where(other.folder), fix=SAME_SHAPE)


SAME_SHAPE = "merge models of one size and vocabulary"


def _copy_files(source: Path, building: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in COPIED and path.name not in LEFT_BEHIND:
            shutil.copyfile(path, building / path.name)


def _write_weights(building: Path, models: Sequence[Weights], base: Weights | None, merge: Merge) -> None:
    """The first model's files again with merged tensors in them."""
    first = models[0]
    by_file: dict[str, list[str]] = {}
    for name, file in first.files.items():
        by_file.setdefault(file.name, []).append(name)
    for file_name, names in by_file.items():
        with open(building / file_name, "wb") as shard:
            _write_file(shard, names, models, base, merge)
    if set(by_file) != {SINGLE}:
        total = sum((building / name).stat().st_size for name in by_file)
        write_json(
            building / INDEX,
            {"metadata": {"total_size": total}, "weight_map": {n: f.name for n, f in sorted(first.files.items())}},
        )


def _write_file(
    file: BinaryIO, names: Sequence[str], models: Sequence[Weights], base: Weights | None, merge: Merge
) -> None:
    """One safetensors file, written as its tensors are made: the header says where each will lie.

    The format: 8 bytes of the header's length, the header as JSON, the bytes of the tensors without gaps. Wide types
    come first, as the library puts them, so that every tensor is aligned.
    """
    first = models[0]
    sizes = {name: _bytes(first, name) for name in names}
    order = sorted(names, key=lambda name: (-_width(first.kind(name)), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in order:
        header[name] = {
            "dtype": first.kind(name),
            "shape": list(first.shape(name)),
            "data_offsets": [at, at + sizes[name]],
        }
        at += sizes[name]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        merged = _merged(name, models, base, merge).contiguous().reshape(-1)
        if merged.numel():
            file.write(merged.view(torch.uint8).numpy().data)


def _merged(name: str, models: Sequence[Weights], base: Weights | None, merge: Merge) -> Tensor:
    """The merged tensor in the type of the first model's. Strength 0 gives the beginning's own bits."""
    first = models[0].read(name)
    start = base.read(name) if base else None
    if first.dtype not in DTYPES:
        others = [other.read(name) for other in (*models[1:], *([base] if base else []))]
        if any(other.dtype != first.dtype or not torch.equal(other, first) for other in others):
            raise InputError(
                f"`{name}` is {first.dtype}, which has no sum, and differs between the models",
                where=Where(models[0].folder),
                fix="merge models whose weights are fp32, bf16 or fp16",
            )
        return first
    if merge.strength == 0:
        return start.to(first.dtype) if start is not None and merge.by in ON_BASE else first
    read = [first.float(), *(other.read(name).float() for other in models[1:])]
    found = RULES[merge.by](read, None if start is None else start.float(), merge.strength).to(first.dtype)
    if not bool(torch.isfinite(found).all()):
        raise InputError(
            f"`{name}` is NaN or infinite when merged with strength {merge.strength:g}", fix="lower --strength"
        )
    return found


def _bytes(weights: Weights, name: str) -> int:
    count = 1
    for size in weights.shape(name):
        count *= size
    return count * _width(weights.kind(name))


def _width(kind: str) -> int:
    """Bytes of one number of a safetensors type."""
    return 1 if kind in ("BOOL", "U8", "I8") or kind.startswith("F8") else int(kind.lstrip("BFIU")) // 8
