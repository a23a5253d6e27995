"""Exact overlap: no row may be trained on and evaluated at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.digest import digest
from bloomery.data.rows import RowTable
from bloomery.data.shapes import detect, to_example
from bloomery.data.sources import iter_records
from bloomery.data.store import TokenStore

Digests = npt.NDArray[np.uint64]
Docs = npt.NDArray[np.int64]


def refuse_overlap(tables: Iterable[RowTable], evaluation: Mapping[str, Digests]) -> None:
    """Raises `InputError` if a training row is also an evaluation row; `evaluation` is digests by a set's name."""
    for table in tables:
        store = table.store
        documents = np.unique(table.documents())
        for name, digests in evaluation.items():
            shared = documents[np.isin(store.digests[documents], digests)]
            if len(shared):
                examples = ", ".join(store.example_id(int(doc)) for doc in shared[:3])
                raise InputError(
                    f"{len(shared):,} training rows of `{table.name}` are also evaluation rows of `{name}`: {examples}"
                    f"{' ...' if len(shared) > 3 else ''}",
                    fix="remove them from one side: a model that has seen the answers proves nothing",
                )


def without(store: TokenStore, docs: Docs | None, digests: Digests) -> Docs:
    """Documents of `docs` (None: all) not among `digests`: for curated sources that give way to an evaluation."""
    chosen = np.arange(store.n_docs, dtype=np.int64) if docs is None else docs
    kept: Docs = chosen[~np.isin(store.digests[chosen], digests)]
    return kept


def source_digests(spec: SourceSpec, base: Path) -> Digests:
    """Digests uint64[n_rows] of a source that is only evaluated on, without tokenizing it."""
    records = iter_records(spec, base)
    first = next(records)
    columns = detect(first, spec)
    return np.fromiter((digest(to_example(record, columns)) for record in chain([first], records)), np.uint64)
