"""LoRA adapters chosen by request, many in one forward (as in S-LoRA, arXiv 2311.03285).

The model's own weights stay as they are: beside each adapted linear layer, every adapter of the step adds its update
to the rows of its own requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bloomery.core.errors import InputError, Where, nearest
from bloomery.models.lora import CONFIG, PREFIX, WEIGHTS, read_adapter


@dataclass(frozen=True, slots=True)
class Update:
    """One layer's update: scale * B @ A, with A [r, in] and B [out, r]."""

    down: Tensor
    up: Tensor
    scale: float


class Adapters:
    """The adapters of one module tree."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._named: dict[str, dict[str, Update]] = {}
        self._hooked: set[str] = set()
        self._active: list[tuple[str, Tensor | None]] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Names that requests may give."""
        return tuple(self._named)

    def check(self, name: str) -> None:
        """Raise `InputError` for a name that is not there; the empty one is the model itself."""
        if name and name not in self._named:
            raise InputError(f"there is no adapter `{name}`{nearest(name, self.names)}", fix="load it first")

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter in PEFT's layout. Raises `InputError` where it asks for what only its own base can do."""
        fields, tensors = read_adapter(folder)
        where = Where(folder / CONFIG)
        for field in ("use_dora", "fan_in_fan_out"):
            if fields.get(field):
                raise InputError(f"`{field}` cannot be served beside other adapters", where=where, fix="merge it first")
        self._named[name] = self._updates(folder, fields, tensors)

    def drop(self, name: str) -> None:
        """Forget an adapter. Raises `InputError` for one that is not there."""
        self.check(name)
        self._named.pop(name, None)

    def activate(self, owners: Sequence[str]) -> None:
        """Name the adapter of each token of the next forward; an empty list ends it."""
        self._active.clear()
        for name in dict.fromkeys(owner for owner in owners if owner):
            rows = [i for i, owner in enumerate(owners) if owner == name]
            whole = len(rows) == len(owners)
            self._active.append((name, None if whole else torch.tensor(rows)))

    def _updates(self, folder: Path, fields: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Update]:
        modules = dict(self._model.named_modules())
        found: dict[str, Update] = {}
        for key, down in tensors.items():
            if not key.endswith(".lora_A.weight"):
                continue
            layer = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            up, module = tensors.get(key.replace(".lora_A.", ".lora_B.")), modules.get(layer)
            shape = None if up is None else (up.shape[0], down.shape[1])
            if not isinstance(module, nn.Linear) or shape != tuple(module.weight.shape):
                raise InputError(
                    f"the adapter's layer `{layer}` does not fit the model",
                    where=Where(folder / WEIGHTS),
                    fix="serve it with the model it was trained on",
                )
            assert up is not None
            weight = module.weight
            found[layer] = Update(down.to(weight), up.to(weight), _scale(fields, layer, down.shape[0]))
            self._hook(layer, module)
        if 2 * len(found) != len(tensors):
            raise InputError(
                "the adapter holds more than low-rank updates of linear layers",
                where=Where(folder / WEIGHTS),
                fix="merge it into the model: `bloomery merge`",
            )
        return found

    def _hook(self, layer: str, module: nn.Linear) -> None:
        if layer in self._hooked:
            return
        if module is self._model.get_output_embeddings():  # type: ignore[operator]
            raise InputError("an adapter of the output layer cannot be served beside others", fix="merge it first")
        self._hooked.add(layer)
        active, named = self._active, self._named  # not `self`, which holds the model: no ring, so it can be let go

        def add(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
            for name, rows in active:
                update = named[name].get(layer)
                if update is None:
                    continue
                x = given[0] if rows is None else given[0][..., rows, :]
                change = (x @ update.down.T) @ update.up.T * update.scale
                if rows is None:
                    out = out + change
                else:
                    out[..., rows, :] += change
            return out

        module.register_forward_hook(add)


def _scale(fields: dict[str, Any], layer: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv 2312.03732), by the layer's own pattern where it has one."""
    patterns: dict[str, float] = fields.get("alpha_pattern") or {}
    alpha = next((a for name, a in patterns.items() if layer == name or layer.endswith("." + name)), None)
    alpha = float(fields["lora_alpha"] if alpha is None else alpha)
    return alpha / (math.sqrt(rank) if fields.get("use_rslora") else rank)
