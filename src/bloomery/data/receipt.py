"""The data receipt: what was read, kept, dropped and cut of every source, and what training took of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.data.blend import Blend
from bloomery.data.rows import RowTable


def data_receipt(tables: Mapping[str, RowTable], blend: Blend | None = None) -> dict[str, Any]:
    """Plain JSON by source; with a blend, tokens asked and realised up to its `next_step`.

    `rows` counts what the source holds, `cut` what the context length did to it, `trained` tokens that
    carry weight, `masked` those that do not. A pair of answers is one row, and its tokens are those of both.
    """
    sources = {name: _source(table) for name, table in sorted(tables.items())}
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


def _source(table: RowTable) -> dict[str, Any]:
    store = table.store
    return {
        "columns": store.columns,
        "store": store.path.name,
        "rows": store.stats.to_json(),
        "used_documents": table.n_documents,
        "cut": table.to_json(),
        "trained": int(table.trained.sum()),
        "masked": table.n_tokens - int(table.trained.sum()),
    }


def _rows(table: RowTable, whole: int, rows: npt.NDArray[np.int64]) -> int:
    return whole * table.n_rows + len(rows)


def _trained(name: str, table: RowTable, blend: Blend) -> int:
    """Exact: whole epochs, and the rows of the epoch under way."""
    whole, rows = blend.drawn(name)
    return whole * int(table.trained.sum()) + int(table.trained[rows].sum())
