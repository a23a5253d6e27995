"""The data receipt: what was read, kept, dropped and cut of every source, and what training took of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.data.blend import Blend
from bloomery.data.curriculum import Stage
from bloomery.data.rows import RowTable
from bloomery.data.store import TokenStore
from bloomery.data.writer import Stats

GONE = "evaluation row"
"""Why documents that gave way to what is measured on were dropped."""


def data_receipt(
    tables: Mapping[str, RowTable],
    blend: Blend | None = None,
    gone: Mapping[str, npt.NDArray[np.int64]] | None = None,
    stages: Mapping[str, Sequence[Stage]] | None = None,
) -> dict[str, Any]:
    """Plain JSON by source; with a blend, tokens asked and realised up to its `next_step`.

    `rows` counts what the source holds, `cut` what the context length did to it, `trained` tokens that
    carry weight, `masked` those that do not. A pair of answers is one row, and its tokens are those of both.
    `gone` are the store's documents, by source, that gave way to evaluation rows: they count as dropped. A source with
    `stages` is read by the blend as these; what is told of it is their sum, and each of them.
    """
    sources = {name: _source(table, (gone or {}).get(name)) for name, table in sorted(tables.items())}
    for name, own in (stages or {}).items():
        sources[name]["stages"] = [stage.to_json() for stage in own]
    if blend is None:
        return {"sources": sources}
    total = sum(blend.realised().values())
    for name, table in sorted(tables.items()):
        read = [stage.table for stage in (stages or {}).get(name, ())] or [table]
        taken = [_taken(part, blend) for part in read if part.name in blend.realised()]
        if taken:
            sources[name]["taken"] = _summed(taken, read, total)
        if stages and name in stages:
            for told, counts in zip(sources[name]["stages"], taken, strict=False):
                told["taken"] = counts
    return {"steps": blend.next_step, "tokens": total, "sources": sources}


def by_category(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What training took of each category, from the receipts of sources that say their `category`, role and licence."""
    total = sum(one.get("taken", {}).get("tokens", 0) for one in sources.values())
    found: dict[str, Any] = {}
    for name, one in sources.items():
        told = found.setdefault(
            one["category"], {"role": one["role"], "sources": [], "licences": [], "tokens": 0, "rows": 0}
        )
        told["sources"].append(name)
        told["licences"] = sorted({*told["licences"], one["licence"] or "not stated"})
        for key in ("tokens", "rows"):
            told[key] += one.get("taken", {}).get(key, 0)
    return {kind: told | {"share": told["tokens"] / total if total else 0.0} for kind, told in found.items()}


def _taken(table: RowTable, blend: Blend) -> dict[str, int]:
    return {
        "tokens_asked": round(blend.asked()[table.name]),
        "tokens": blend.realised()[table.name],
        "rows": _rows(table, *blend.drawn(table.name)),
        "trained_tokens": _trained(table.name, table, blend),
    }


def _summed(taken: Sequence[Mapping[str, int]], tables: Sequence[RowTable], total: int) -> dict[str, Any]:
    """What was taken of a source's tables together."""
    counts: dict[str, Any] = {key: sum(one[key] for one in taken) for key in taken[0]}
    supply = sum(table.n_tokens for table in tables)
    counts["share"] = counts["tokens"] / total if total else 0.0
    return counts | {"epochs": round(counts["tokens"] / supply, 4)}


def _source(table: RowTable, gone: npt.NDArray[np.int64] | None) -> dict[str, Any]:
    store = table.store
    return {
        "columns": store.columns,
        "store": store.path.name,
        "identity": table.identity(),
        "rows": (store.stats if gone is None else _less(store, gone)).to_json(),
        "used_documents": table.n_documents,
        "cut": table.to_json(),
        "trained": int(table.trained.sum()),
        "masked": table.n_tokens - int(table.trained.sum()),
    }


def _less(store: TokenStore, gone: npt.NDArray[np.int64]) -> Stats:
    """The store's counts without documents that gave way."""
    stats, lengths = store.stats, store.lengths[gone]
    return Stats(
        stats.read,
        stats.kept - len(gone),
        stats.tokens - int(lengths.sum()),
        stats.trained - int(store.trained_counts(gone, np.zeros(len(gone), np.int64), lengths).sum()),
        stats.text_bytes - int(store.text_bytes[gone].sum()),
        stats.dropped + Counter({GONE: len(gone)}),
    )


def _rows(table: RowTable, whole: int, rows: npt.NDArray[np.int64]) -> int:
    return whole * table.n_rows + len(rows)


def _trained(name: str, table: RowTable, blend: Blend) -> int:
    """Exact: whole epochs, and the rows of the epoch under way."""
    whole, rows = blend.drawn(name)
    return whole * int(table.trained.sum()) + int(table.trained[rows].sum())
