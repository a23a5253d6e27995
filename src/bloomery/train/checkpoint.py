"""Checkpoints: safetensors and JSON under a sha256 manifest, published by one rename, never overwritten.

Every rank writes the rows of the tensors it holds; the layout follows from shapes and world size alone, so
a checkpoint of N processes is read back by M. No pickle anywhere, and no DCP: its `.metadata` is a pickle.
"""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import publish_folder, read_json, verify_folder, write_json
from bloomery.train.parallel import World, local_rows

STATE = "state.json"


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any], world: World
) -> Path:
    """Write `folder/step-XXXXXXXX` and return it, whole and durable, on every rank.

    `tensors` may be sharded on dimension 0; `rng/` tensors are each rank's own. `state` is JSON.
    Raises `TrainingError` from the caller's checks only; an `OSError` (full disk) leaves older checkpoints whole.
    """
    final = folder / f"step-{step:08d}"
    if final.exists():
        return final
    building = Path(world.share_text(str(folder / f".{final.name}.{uuid.uuid4().hex[:8]}.building")))
    try:
        building.mkdir(parents=True, exist_ok=True)
        world.barrier()
        local = {name: local_rows(tensor).detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(local, building / _shard_name(world.rank, world.size))
        world.barrier()
        if world.first:
            shapes = {name: list(tensor.shape) for name, tensor in tensors.items() if not name.startswith("rng/")}
            write_json(building / STATE, {**state, "step": step, "shapes": shapes, "ranks": world.size})
            publish_folder(building, final, {"kind": "checkpoint", "step": step})
        world.barrier()
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return final


class Checkpoint:
    """A verified checkpoint on disk; opening one re-hashes every byte or raises `DamagedError`."""

    def __init__(self, path: Path) -> None:
        verify_folder(path)
        self.path = path
        self.state: dict[str, Any] = read_json(path / STATE)
        self._ranks: int = self.state["ranks"]

    @property
    def step(self) -> int:
        """Optimiser steps done when it was written."""
        return int(self.state["step"])

    def names(self) -> list[str]:
        """All tensor names but the ranks' own `rng/` ones."""
        return list(self.state["shapes"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows `[start, stop)` of a tensor on the CPU, read from the shards that hold them."""
        shape = self.state["shapes"][name]
        if not shape or self._ranks == 1:
            whole = self._slice(0, name, None)
            return whole if not shape else whole[start:stop]
        stop = shape[0] if stop is None else stop
        pieces = []
        for rank, (begin, end) in enumerate(row_ranges(shape[0], self._ranks)):
            low, high = max(start, begin), min(stop, end)
            if low < high:
                pieces.append(self._slice(rank, name, (low - begin, high - begin)))
        return torch.cat(pieces) if pieces else torch.empty([0, *shape[1:]])

    def read_like(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """The rows of a tensor that `like` holds on this rank."""
        if not isinstance(like, DTensor):
            return self.read(name)
        begin, end = row_ranges(like.shape[0], like.device_mesh.size())[like.device_mesh.get_local_rank()]
        return self.read(name, begin, end)

    def rng(self, rank: int) -> dict[str, torch.Tensor]:
        """The random states that `rank` saved, by kind of device; none if fewer ranks saved."""
        if rank >= self._ranks:
            return {}
        with safe_open(self.path / _shard_name(rank, self._ranks), framework="pt") as file:
            names = [name for name in file.keys() if name.startswith("rng/")]  # noqa: SIM118 - not a dict
            return {name[4:]: file.get_tensor(name).clone() for name in names}

    def _slice(self, rank: int, name: str, rows: tuple[int, int] | None) -> torch.Tensor:
        with safe_open(self.path / _shard_name(rank, self._ranks), framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[rows[0] : rows[1]]
            return tensor.clone()  # the file is mapped: what was read must not change with it


def row_ranges(rows: int, ranks: int) -> list[tuple[int, int]]:
    """How FSDP2 splits dimension 0 over ranks: as `torch.chunk`, the last ranks may hold none."""
    size = -(-rows // ranks)
    return [(min(rank * size, rows), min((rank + 1) * size, rows)) for rank in range(ranks)]


def newest_whole(folder: Path, damaged: Callable[[DamagedError], None]) -> Path | None:
    """The newest checkpoint that verifies. Newer ones that do not are passed to `damaged` and set aside by a new name.

    Raises `DamagedError` when there are checkpoints and none is whole; None when there are none.
    Only the run's one writer may call this.
    """
    broken = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            verify_folder(path)
        except DamagedError as error:
            damaged(error)
            broken.append(path)
            continue
        for other in broken:
            aside = other.rename(folder / f"damaged-{other.name}-{uuid.uuid4().hex[:8]}")
            # even where the run is quiet: the disk may be failing, and steps are done again
            print(f"{other.name} is damaged, set aside as {aside}; going on from {path.name}", file=sys.stderr)
        return path
    if broken:
        raise DamagedError(
            f"none of the {len(broken)} checkpoints is whole", where=Where(folder), fix="start anew under another name"
        )
    return None


def prune(folder: Path, keep_last: int, keep: Callable[[Path], bool]) -> Iterator[Path]:
    """Remove checkpoints older than the last `keep_last`, but none that `keep` claims; yields those removed.

    The newest is re-hashed first, so that the old ones never go before the new one is proven whole.
    """
    found = sorted(folder.glob("step-*"))
    if not found:
        return
    verify_folder(found[-1])
    for path in found[: -max(1, keep_last)]:
        if not keep(path):
            doomed = path.with_name(f".{path.name}.removing")
            path.rename(doomed)
            shutil.rmtree(doomed)
            yield path


def sweep_unfinished(folder: Path) -> None:
    """Remove what a killed process left half written or half removed; only the run's one writer may call this."""
    for pattern in (".step-*.building", ".step-*.removing"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def check_disk(folder: Path, tensors_bytes: int, keep_last: int, model_bytes: int) -> None:
    """Refuse to start when the disk cannot hold the checkpoints to keep, one being written, and the model."""
    need = tensors_bytes * (keep_last + 2) + model_bytes * 2
    free = shutil.disk_usage(folder).free
    if free < need:
        raise InputError(
            f"the run needs {need / 1e9:.2f} GB of disk ({keep_last} checkpoints, the best,"
            f" one being written, the model) and {folder} has {free / 1e9:.2f} GB free",
            fix="free space, or choose another run folder with --folder",
        )


def _shard_name(rank: int, ranks: int) -> str:
    return f"shard-{rank + 1:05d}-of-{ranks:05d}.safetensors"
