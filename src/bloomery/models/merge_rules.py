"""How weights are merged: one function a rule, of one tensor of every model, in fp32.

A rule takes the tensors of the models, that of the base (their common start) where it needs one, and the strength.
Strength 0 is what the merge begins with: the first model, or for `task` and `ties` the base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bloomery.core.errors import InputError, nearest

KEPT = 0.2
"""The part of each difference that `ties` keeps: the largest fifth (TIES, arXiv 2306.01708, section 4)."""

PARALLEL = 0.9995
"""Cosine from which `slerp` is `linear`: the sine it divides by is then too small to be exact in fp32."""


def linear(models: Sequence[Tensor], base: Tensor | None, strength: float) -> Tensor:
    """(1 - s) A + s B."""
    first, other = models
    return (1 - strength) * first + strength * other


def slerp(models: Sequence[Tensor], base: Tensor | None, strength: float) -> Tensor:
    """From A to B along the arc between them: sin((1 - s) w) / sin w A + sin(s w) / sin w B, w the angle.

    The tensor counts as one vector. `linear` where the two are parallel or one is zero.
    """
    first, other = models
    lengths = torch.linalg.vector_norm(first, dtype=torch.float64) * torch.linalg.vector_norm(
        other, dtype=torch.float64
    )
    cosine = (first * other).sum(dtype=torch.float64) / lengths
    if not torch.isfinite(cosine) or abs(cosine) > PARALLEL:
        return linear(models, base, strength)
    angle = torch.arccos(cosine)
    parts = torch.sin((1 - strength) * angle) / torch.sin(angle), torch.sin(strength * angle) / torch.sin(angle)
    return parts[0].item() * first + parts[1].item() * other


def task(models: Sequence[Tensor], base: Tensor | None, strength: float) -> Tensor:
    """Task arithmetic, X + s sum(M - X) (arXiv 2212.04089)."""
    assert base is not None
    total = torch.zeros_like(base)
    for model in models:
        total += model - base
    return base + strength * total


def ties(models: Sequence[Tensor], base: Tensor | None, strength: float) -> Tensor:
    """X + s times the differences M - X trimmed to their largest part, signs elected, the rest averaged (2306.01708).

    Trimmed tensor by tensor, where the paper trims a model as a whole: so it needs no second look at the weights.
    """
    assert base is not None
    kept = torch.stack([_trimmed(model - base) for model in models])
    sign = torch.sign(kept.sum(0))
    agreeing = torch.where(torch.sign(kept) == sign, kept, 0.0)
    return base + strength * agreeing.sum(0) / (agreeing != 0).sum(0).clamp(min=1)


def _trimmed(difference: Tensor) -> Tensor:
    """The largest `KEPT` of the entries by size, at least one; the others zero."""
    sizes = difference.abs().flatten()
    count = max(1, round(KEPT * sizes.numel()))
    least = torch.topk(sizes, count, sorted=True).values[-1]
    return torch.where(difference.abs() >= least, difference, 0.0)


def graft(models: Sequence[Tensor], base: Tensor | None, strength: float) -> Tensor:
    """A + s (B - X): what training made of X, put onto another model A (Shadow-FT, arXiv 2505.12716).

    Added in the order in which A = X gives B to the bit at strength 1.
    """
    assert base is not None
    first, trained = models
    return strength * trained + (first - strength * base)


Rule = Callable[[Sequence[Tensor], Tensor | None, float], Tensor]

RULES: dict[str, Rule] = {"linear": linear, "slerp": slerp, "task": task, "ties": ties, "graft": graft}
ON_BASE = ("task", "ties")
"""Rules that begin with the base."""
WITH_BASE = (*ON_BASE, "graft")
BETWEEN = ("linear", "slerp")
"""Rules that lead from one model to the other, so that more than 1 leads nowhere."""


@dataclass(frozen=True, slots=True)
class Merge:
    """A rule and its strength. Raises `InputError` for an unknown rule, and a strength that it cannot have."""

    by: str
    strength: float

    def __post_init__(self) -> None:
        if self.by not in RULES:
            raise InputError(f"`--by {self.by}` is no way to merge{nearest(self.by, RULES)}", fix="change --by")
        most = 1.0 if self.by in BETWEEN else 2.0
        if not 0 <= self.strength <= most:
            raise InputError(
                f"`--strength {self.strength:g}` is outside 0 to {most:g}, which `--by {self.by}` takes",
                fix="change --strength",
            )

    def check_models(self, models: int, base: bool) -> None:
        """Raise `InputError` unless the rule can merge so many models, with or without a base."""
        exactly = self.by not in ON_BASE
        if (models != 2) if exactly else (models < 2):
            wanted = "two models" if exactly else "two models or more"
            raise InputError(f"`--by {self.by}` merges {wanted}, and {models} are named", fix=f"name {wanted}")
        if base != (self.by in WITH_BASE):
            need = "needs `--base`, the model that the others were trained from" if not base else "takes no `--base`"
            raise InputError(f"`--by {self.by}` {need}", fix="remove --base" if base else "add --base MODEL")
