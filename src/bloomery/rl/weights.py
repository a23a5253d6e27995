"""The weights that sample: those in training themselves, or a copy that is renewed when training has changed them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch

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


def _tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
