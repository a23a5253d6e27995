"""Weights in training as files, for whoever samples elsewhere: each version is a folder that is written beside its
place and renamed, so that only whole versions are seen.

Where adapters are trained they alone are published, in peft's layout, which vLLM reads too; their base lies in its own
folder already. Otherwise a version is one safetensors file with all weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bloomery.core.errors import InputError
from bloomery.core.files import building_folder
from bloomery.models.export import DTYPES, export_model
from bloomery.models.load import Loaded
from bloomery.models.lora import CONFIG, is_adapted, renew_lora, save_lora

WEIGHTS = "weights.safetensors"


class Published:
    """The versions of `loaded` under `folder`, which nobody else writes to; one at a time."""

    def __init__(self, loaded: Loaded, folder: Path) -> None:
        """Raises `InputError` for adapters whose base lies in no folder."""
        self.adapted = is_adapted(loaded.model)
        if self.adapted and loaded.folder is None:
            raise InputError("a model made from a config has no base that others could read", fix="train it whole")
        self._loaded, self._folder = loaded, folder
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier process; the run folder has one writer
        folder.mkdir(mode=0o700, parents=True)
        self.newest: Path | None = None

    @property
    def dtype(self) -> str:
        """The type of the weights, by its name in a model's config."""
        dtype = next(self._loaded.model.parameters()).dtype
        return next(name for name, each in DTYPES.items() if each is dtype)

    def start(self) -> dict[str, str | None]:
        """The folders of a `model` and of an `adapter`, as they are now: what a worker opens before any version."""
        if self.adapted:
            self._save_adapter(self._folder / "adapter")
            return {"model": str(self._loaded.folder), "adapter": str(self._folder / "adapter")}
        export_model(self._loaded, self._folder / "model", dtype=self.dtype)
        return {"model": str(self._folder / "model"), "adapter": None}

    def renew(self, version: int) -> Path:
        """The folder of the weights as they are now; the version before is removed, since nobody samples with it."""
        place = self._folder / f"v{version:08d}"
        if place == self.newest:
            return place
        if self.adapted:
            self._save_adapter(place)
        else:
            named = self._loaded.model.named_parameters()
            held = {name: tensor.detach().cpu().contiguous() for name, tensor in named}
            with building_folder(place, {"version": version}, mode=0o700) as building:
                save_file(held, building / WEIGHTS)
        if self.newest is not None:
            shutil.rmtree(self.newest)
        self.newest = place
        return place

    def close(self) -> None:
        """Remove what was published."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _save_adapter(self, place: Path) -> None:
        save_lora(self._loaded.model, place, str(self._loaded.folder))


def load_version(model: torch.nn.Module, folder: Path) -> None:
    """Put a version into a model of the same kind, in place. Raises `KeyError` where a weight is missing, and
    `InputError` for adapters of another shape."""
    if (folder / CONFIG).is_file():
        renew_lora(model, folder)
        return
    held = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(held[name])
