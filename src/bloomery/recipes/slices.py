"""Held-out slices of the curated data: what tells a run that holds its budget which of it is being lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bloomery.core.rows import TokenRow
from bloomery.data.overlap import Docs, Evaluated
from bloomery.data.rows import RowTable
from bloomery.data.split import holdout
from bloomery.data.store import TokenStore
from bloomery.recipes.plan import Plan

DOCUMENTS = 32
"""Documents held out of each curated source, at most a fifth of them: enough to see a loss worth replaying for."""
FEWEST = 8
"""Documents below which a source has no slice: they would tell nothing."""


@dataclass(frozen=True, slots=True)
class Slices:
    """By curated source: documents `held` out of training, and those that stay in it."""

    held: Mapping[str, Docs] = field(default_factory=dict)
    stay: Mapping[str, Docs] = field(default_factory=dict)

    def evaluated(self, stores: Mapping[str, TokenStore]) -> dict[str, Evaluated]:
        """Their hashes, by a name of the slice: another source that has the same documents gives way too."""
        return {f"{name} (slice)": Evaluated(stores[name].digests[docs]) for name, docs in self.held.items()}


def slices(plan: Plan, stores: Mapping[str, TokenStore]) -> Slices:
    """A slice of each curated source that takes part in the blend; none where the run does not hold its budget, or
    measures general text on what it holds out of them anyway."""
    if not plan.get("keep.hold") or plan.get("eval.general") == "replayed":
        return Slices()
    held, stay = {}, {}
    for source in plan.sources:
        store = stores[source.name]
        if source.role == "curated" and store.n_docs >= 5 * FEWEST:
            split = holdout(store, 0.0, DOCUMENTS, plan.get("seed"))
            held[source.name], stay[source.name] = split.heldout, split.train
    return Slices(held, stay)


def spread(table: RowTable, count: int) -> list[TokenRow]:
    """Rows of `count` documents that lie evenly over the table, or of all where there are fewer."""
    documents = table.documents()
    there = np.unique(documents)
    chosen = there[np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int)]
    return [row for index in np.flatnonzero(np.isin(documents, chosen)) for row in table.rows(int(index))]
