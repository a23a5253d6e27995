"""A module onto its devices: moved whole by one process; sharded, then filled from the folder, by many."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor

from bloomery.models.fuse import fuse
from bloomery.models.load import Loaded
from bloomery.models.meta import allocate, on_meta
from bloomery.models.slices import read_model
from bloomery.train.checkpoint import row_ranges
from bloomery.train.module import TrainModule
from bloomery.train.parallel import World, compile_blocks, local_rows, shard


def place(module: TrainModule, loaded: Loaded, world: World, bf16: bool) -> int:
    """Put the module where this process computes; returns the bytes this rank read from the folder just now.

    A model on meta takes only its rank's rows of each tensor. Blocks are compiled on GPU, before they are sharded.
    Raises `InputError` where the folder's tensors bear other names than the model's.
    """
    if not on_meta(loaded.model):
        module.to(world.device)
        compile_blocks(module, world.device)
        shard(module, world, bf16)
        return 0
    assert loaded.folder is not None
    compile_blocks(module, world.device)
    shard(module, world, bf16)
    allocate(loaded.model, world.device)
    tensors = {**dict(loaded.model.named_parameters()), **dict(loaded.model.named_buffers())}
    ranges = {name: _rows(tensor) for name, tensor in tensors.items() if isinstance(tensor, DTensor)}
    read = 0
    with torch.no_grad():
        for name, piece in read_model(loaded.folder, loaded.model, ranges):
            local_rows(tensors[name]).copy_(piece)
            read += piece.nbytes
    fuse(loaded.model)
    return read


def _rows(tensor: DTensor) -> tuple[slice, ...]:
    """The rows of a tensor that this rank keeps."""
    mesh = tensor.device_mesh
    return (slice(*row_ranges(tensor.shape[0], mesh.size())[mesh.get_local_rank()]),)
