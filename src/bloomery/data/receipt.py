"""The data receipt: what was read, kept, dropped and cut of every source, and what training took of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.data.blend import Blend
from bloomery.data.rows import RowTable
from bloomery.data.store import TokenStore
from bloomery.data.writer import Stats

GONE = "evaluation row"
"""Why documents that gave way to what is measured on were dropped."""


def data_receipt(
    tables: Mapping[str, RowTable], blend: Blend | None = None, gone: Mapping[str, npt.NDArray[np.int64]] | None = None
) -> dict[str, Any]:
    """Plain JSON by source; with a blend, tokens asked and realised up to its `next_step`.

    `rows` counts what the source holds, `cut` what the context length did to it, `trained` tokens that
    carry weight, `masked` those that do not. A pair of answers is one row, and its tokens are those of both.
    `gone` are the store's documents, by source, that gave way to evaluation rows: they count as dropped.
    """
    sources = {name: _source(table, (gone or {}).get(name)) for name, table in sorted(tables.items())}
    if blend is None:
        return {"sources": sources}
    asked, realised, epochs = blend.asked(), blend.realised(), blend.epochs()
    total = sum(realised.values())
    for name in realised:
        sources[name]["taken"] = {
            "tokens_asked": round(asked[name]),
            "tokens": realised[name],
            "share": realised[name] / total if total else 0.0,
            "rows": _rows(tables[name], *blend.drawn(name)),
            "trained_tokens": _trained(name, tables[name], blend),
            "epochs": round(epochs[name], 4),
        }
    return {"steps": blend.next_step, "tokens": total, "sources": sources}


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
