"""Holds documents out of training: chosen by their own hash, near-duplicates together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.data.cursor import mix
from bloomery.data.similar import clusters
from bloomery.data.store import TokenStore

FRACTION, MINIMUM, MOST = 0.02, 200, 0.2
"""2 % of the documents, 200 where there are that many to spare: never more than a fifth of them (our choice)."""

Docs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Document numbers int64 on either side, ascending; `together` counts those kept with a near-duplicate."""

    train: Docs
    heldout: Docs
    together: int


def holdout(store: TokenStore, fraction: float = FRACTION, minimum: int = MINIMUM, seed: int = 0) -> Split:
    """Split a source's documents into a training and a held-out side.

    Documents go by a hash of their content, so that rows added later do not move those held out before.
    Clusters that would fill more than a quarter of the held-out side stay in training: they would
    decide the measurement. Raises `InputError` when nothing can be held out.
    """
    group = clusters(store)
    _, first, members, sizes = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    wanted = _wanted(store.n_docs, fraction, minimum)
    if len(sizes) < 2:
        what = "one document" if store.n_docs == 1 else f"{store.n_docs:,} documents, all near-duplicates"
        raise InputError(
            f"source `{store.name}` has {what}: nothing can be held out to measure on",
            fix="name held-out rows under `eval: {domain: ...}`, or give more documents",
        )
    order = np.argsort(mix(store.digests[first], seed), kind="stable")
    chosen, total = [], 0
    largest = max(wanted // 4, int(sizes.min()))
    for number in order.tolist():
        if total >= wanted:
            break
        if sizes[number] <= largest and total + sizes[number] < store.n_docs:
            chosen.append(number)
            total += int(sizes[number])
    held = np.isin(members, chosen)
    return Split(np.flatnonzero(~held), np.flatnonzero(held), int(store.n_docs - len(sizes)))


def holdout_rows(store: TokenStore, fraction: float = FRACTION, minimum: int = MINIMUM, seed: int = 0) -> Split:
    """The same by row, whatever it says: for games that all begin alike and differ by what only their environment
    reads. Of a single row nothing is held out.
    """
    wanted = _wanted(store.n_docs, fraction, minimum) if store.n_docs > 1 else 0
    order = np.argsort(mix(np.arange(store.n_docs, dtype=np.uint64), seed), kind="stable")
    return Split(np.sort(order[wanted:]), np.sort(order[:wanted]), 0)


def _wanted(documents: int, fraction: float, minimum: int) -> int:
    return max(1, math.ceil(fraction * documents), min(minimum, int(MOST * documents)))
