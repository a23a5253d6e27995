"""The weights that sample: those in training themselves, or a copy that is renewed when training has changed them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch.distributed.tensor import DTensor

from bloomery.models.load import Loaded

Renew = Callable[[int], None]
"""Called with a version when it is to sample; the weights in training stand still meanwhile."""


def shared(version: int) -> None:
    """Weights that sample in place need nothing."""


def copied(loaded: Loaded) -> tuple[Loaded, Renew]:
    """A model of the same weights in memory of its own, and what renews them; adapters are copied as well."""
    model, head = copy.deepcopy((loaded.model, loaded.head))
    own = replace(loaded, model=model, head=head)
    pairs = [*zip(_tensors(model), _tensors(loaded.model), strict=True)]

    @torch.no_grad()
    def renew(version: int) -> None:
        for mine, theirs in pairs:
            mine.copy_(theirs)

    return own, renew


def whole(trained: Mapping[str, torch.Tensor], model: torch.nn.Module | None) -> Renew:
    """What renews a model by trained weights of which each process holds some rows; all of them call it together.

    A process that samples nothing has no `model`, and gives its rows to the others.
    """
    mine = dict(model.named_parameters()) if model is not None else {}

    @torch.no_grad()
    def renew(version: int) -> None:
        for name, tensor in trained.items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if mine:
                mine[name].copy_(full)

    return renew


def _tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
