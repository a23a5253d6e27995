"""The mean of the weights over the end of a run, in place of a decaying rate.

Averaging checkpoints of a constant rate does what annealing does (WSM, arXiv 2507.17634; Nemotron 3 Super), and
the run can go on from its last checkpoint as if it had never ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from bloomery.core.errors import DamagedError
from bloomery.train.parallel import local_rows

PREFIX = "average/"


class Average:
    """Running fp32 mean of `parameters` as they are after each of `steps` (numbers of steps done).

    It takes one more copy of the weights, from the first of the steps on; nothing where there are no steps.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], steps: Sequence[int]) -> None:
        self.parameters, self.steps = parameters, sorted(steps)
        self.mean: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def add(self, done: int) -> None:
        """Take the weights in, where `done` is one of the steps."""
        if done not in self.steps:
            return
        count = self.steps.index(done) + 1
        for name, parameter in self.parameters.items():
            if count == 1:
                self.mean[name] = parameter.detach().clone()
            else:
                local_rows(self.mean[name]).lerp_(local_rows(parameter), 1 / count)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The mean so far, as a checkpoint holds it."""
        return {f"{PREFIX}{name}": tensor for name, tensor in self.mean.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor], done: int) -> None:
        """Put back what a checkpoint of `done` steps held. Raises `DamagedError` when it should have held a mean."""
        if not any(step <= done for step in self.steps):
            return
        try:
            self.mean = {name: tensors[f"{PREFIX}{name}"] for name in self.parameters}
        except KeyError as missing:
            raise DamagedError(f"the checkpoint holds no mean of the weights {missing}") from None
