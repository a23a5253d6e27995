"""A packed row in which documents that begin alike have their beginning once: the others go on from it.

A row is cut into pieces end to end. A piece is a whole document, or what a document has beyond the first tokens of
another one that stands in the same row. Its tokens see those first tokens, and then its own; they stand at the
positions that they have in their document. Hidden states and gradients are those of whole documents, since what comes
after a token never changes it (the idea of Hydragen, arXiv:2402.05099, with a backward).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pieces:
    """`starts` are cumulative starts of the pieces and the row's length last; `begins[i]` is the stretch [from, to) of
    the row that piece i goes on from, (0, 0) for a whole document."""

    starts: tuple[int, ...]
    begins: tuple[tuple[int, int], ...]
    kept: dict[Any, Tensor] = field(default_factory=dict, repr=False)
    """Masks of tiles: the same for every layer of the row."""

    @classmethod
    def of(cls, starts: Sequence[int] | Pieces) -> Pieces:
        """Whole documents as pieces."""
        return starts if isinstance(starts, Pieces) else cls(tuple(starts), ((0, 0),) * (len(starts) - 1))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """[start, end) of each piece."""
        return list(pairwise(self.starts))

    def alike(self) -> list[tuple[int, int, tuple[int, int]]]:
        """Stretches [start, end) of neighbouring pieces that go on from the same beginning, which comes third; a whole
        document is a stretch by itself."""
        found: list[tuple[int, int, tuple[int, int]]] = []
        for (start, end), begin in zip(self.spans, self.begins, strict=True):
            if found and begin != (0, 0) and found[-1][2] == begin and found[-1][1] == start:
                found[-1] = (found[-1][0], end, begin)
            else:
                found.append((start, end, begin))
        return found

    def first_of(self, token: int) -> int:
        """Where the piece of a token starts."""
        return self.starts[int(np.searchsorted(self.starts, token, "right")) - 1]

    def seen(self, q0: int, q1: int, k0: int, k1: int, shared: int, window: int | None) -> Tensor:
        """bool[q1 - q0, shared + k1 - k0]: which of the `shared` tokens of the beginning, and which of [k0, k1), each
        query sees; a query beyond the row sees only itself, or what is nearest to it."""
        starts = np.array(self.starts)
        queries, keys = np.arange(q0, q1), np.arange(k0, k1)
        its, theirs = (starts[np.searchsorted(starts, x, "right") - 1] for x in (queries, keys))
        apart = queries[:, None] - keys
        own = (its[:, None] == theirs) & (apart >= 0)
        before = (shared + queries - its)[:, None] - np.arange(shared)
        if window is not None:
            own &= apart < window
            before = before < window
        else:
            before = np.ones_like(before, np.bool_)
        return torch.from_numpy(np.concatenate([before, own], 1))
