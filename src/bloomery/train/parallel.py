"""One process or many: who we are, how the module is sharded, and the few collectives the loop needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from bloomery.core.errors import InputError

PATIENCE = timedelta(days=7)
"""How long texts are waited for; a process that ends is noticed at once."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size` of them; `device` is where its tensors live."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes logs and publishes files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Sum each value over all processes; every process must pass the same keys."""
        if self.size == 1 or not values:
            return values
        names = sorted(values)
        total = torch.tensor([values[n] for n in names], dtype=torch.float64).to(self._wire())
        dist.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process raised the flag, such as a request to stop."""
        return self.sum({"flag": float(flag)})["flag"] > 0

    def share_text(self, text: str) -> str:
        """The first process's text, on every process."""
        if self.size == 1:
            return text
        # as bytes, not as an object: torch would pickle it
        data = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self._wire())
        length = torch.tensor([len(data)], device=self._wire())
        dist.broadcast(length, src=0)
        data = data if self.first else torch.empty(int(length), dtype=torch.uint8, device=self._wire())
        dist.broadcast(data, src=0)
        return bytes(data.tolist()).decode()

    def gathering(self) -> Callable[[str], list[str]]:
        """What gives each process the texts of all, by rank. Texts go their own way, so that they may be gathered in a
        thread beside a step, and may be waited for as long as it takes."""
        if self.size == 1:
            return lambda text: [text]
        return partial(_gather, dist.new_group(backend="gloo", timeout=PATIENCE))

    def _wire(self) -> torch.device:
        return self.device if self.device.type == "cuda" else torch.device("cpu")


def _gather(group: dist.ProcessGroup, text: str) -> list[str]:
    own = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(group.size())]
    dist.all_gather(lengths, torch.tensor([len(own)]), group=group)
    padded = torch.zeros(int(max(lengths)), dtype=torch.uint8)
    padded[: len(own)] = own
    found = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(found, padded, group=group)
    return [bytes(one[: int(length)].numpy()).decode() for one, length in zip(found, lengths, strict=True)]


def join_world(device: str = "auto") -> World:
    """Join the process group that torchrun described in the environment, or be alone without one."""
    size, rank, local = (int(os.environ.get(k, d)) for k, d in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))
    where = pick_device(device, local)
    cuda = where.type == "cuda"
    if cuda:
        torch.cuda.set_device(where)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo", device_id=where if cuda else None)
    return World(rank, size, where)


def pick_device(name: str = "auto", local: int = 0) -> torch.device:
    """`cpu`, or the GPU numbered `local` for `cuda`; `auto` is a GPU where there is one.

    Raises `InputError` where a GPU is asked for by name and there is none.
    """
    there = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError(
            "`memory.device: cuda` needs a GPU that torch can use, and there is none",
            fix="remove `memory.device`, or install a build of torch for the GPU",
        )
    return torch.device("cuda", local) if there else torch.device("cpu")


def leave_world() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(module: nn.Module, world: World, bf16: bool) -> None:
    """FSDP2: each block of the largest layer list, then `module` itself as the only root.

    Gradients are summed, not averaged, over ranks: each part of the loss is already divided by its
    denominator over the whole step.
    """
    if world.size == 1:
        return
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if bf16 else MixedPrecisionPolicy()
    )
    for block in blocks(module):
        fully_shard(block, mp_policy=policy)
    fully_shard(module, mp_policy=policy)
    for also in ("score", "leading"):
        register_fsdp_forward_method(module, also)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sum


def compile_blocks(module: nn.Module, device: torch.device) -> None:
    """`torch.compile` each block in place, on GPU only: blocks share one compiled code, and sharding comes after it.

    Not yet run on a GPU. On CPU it brought nothing to a model of 8.5M parameters and took 40 s to start.
    """
    if device.type == "cuda":
        for block in blocks(module):
            block.compile()


def blocks(module: nn.Module) -> list[nn.Module]:
    """The decoder's blocks: the module list that holds the most parameters."""
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList)]
    largest = max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=None)
    return [] if largest is None else list(largest)


def sync_gradients(module: nn.Module, last: bool) -> None:
    """Reduce gradients over ranks only in a step's last micro-batch."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)


def local_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The rows of a sharded tensor that this rank holds; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sharded_as(like: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """`rows`, this rank's own, as a tensor on the device and mesh of `like`."""
    rows = rows.to(like.device)
    if not isinstance(like, DTensor):
        return rows
    return DTensor.from_local(rows, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
