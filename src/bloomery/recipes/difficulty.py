"""How hard a run's domain rows are, measured once and cached, and the stages that follow.

    CACHE/difficulty/KEY/difficulty.bin     float64[documents], under a manifest with its sha256

The key covers the rows, what they are ordered by and, where that is a loss, the weights that were asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bloomery.core.files import building_folder, canonical_hash, verify_folder, waiting_lock
from bloomery.core.rows import TokenRow
from bloomery.data.config import SourceSpec
from bloomery.data.curriculum import Stage, documents_of, stages_of
from bloomery.data.difficulty import by_column, meaning
from bloomery.data.rows import RowTable
from bloomery.data.sources import iter_records
from bloomery.lineage.provenance import model_hash
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.curriculum import is_staged
from bloomery.recipes.plan import Plan

Floats = npt.NDArray[np.float64]

FILE = "difficulty.bin"
AT_ONCE = 512
"""Rows that are scored together."""


def stages_by_source(
    plan: Plan, specs: Mapping[str, SourceSpec], tables: Mapping[str, RowTable], say: Callable[[str], None]
) -> dict[str, tuple[Stage, ...]]:
    """The stages of every domain source; none where rows are shuffled.

    Raises `InputError` with file and row for a row without what it is ordered by, and for rows that make no stages.
    """
    if not is_staged(plan):
        return {}
    found = {}
    for name in (source.name for source in plan.sources if source.role == "domain"):
        hard = _measured(plan, specs[name], tables[name], say)
        stages = stages_of(tables[name], hard, plan.get("data.order.stages"), plan.get("objective"))
        found[name] = tuple(_as_written(plan, stage) for stage in stages)
    return found


def _as_written(plan: Plan, stage: Stage) -> Stage:
    """Its bounds as the column has them, where low numbers are the hard ones."""
    low = plan.get("data.order") == "column" and plan.get("data.order.hard") == "low"
    return replace(stage, easiest=-stage.easiest, hardest=-stage.hardest) if low else stage


def _measured(plan: Plan, spec: SourceSpec, table: RowTable, say: Callable[[str], None]) -> Floats:
    """Difficulty of each document of the table, in the order of `documents_of`."""
    by = plan.get("data.order")
    asked = [by, plan.get("data.order.column"), plan.get("data.order.hard")]
    weights = model_hash(Path(plan.get("start.folder"))) if by == "loss" else ""
    key = canonical_hash([table.store.path.name, table.identity()["rows"], asked, weights])
    final = cache_dir() / "difficulty" / key[:32]
    final.parent.mkdir(parents=True, exist_ok=True)
    with waiting_lock(final.parent / f".{final.name}.lock", f"how hard `{table.name}` is"):
        if not final.exists():
            say(f"measuring how hard the rows of {table.name} are by {by}")
            found = _by_loss(plan, table) if by == "loss" else _by_column(plan, spec, table)
            with building_folder(final, {"source": table.name, "by": by}, 0o700) as building:
                (building / FILE).write_bytes(found.astype("<f8").tobytes())
    verify_folder(final)
    return np.fromfile(final / FILE, "<f8")


def _by_column(plan: Plan, spec: SourceSpec, table: RowTable) -> Floats:
    rows = table.store.records[documents_of(table)[0]]
    value = meaning(plan.get("data.order"), plan.get("data.order.hard"))
    return by_column(iter_records(spec, Path(plan.get("base"))), rows, plan.get("data.order.column"), value)


def _by_loss(plan: Plan, table: RowTable) -> Floats:
    """The start's nats a trained token of each document; of a pair the better answer's less the worse one's."""
    from bloomery.engine.native import NativeEngine
    from bloomery.recipes.training import load_start
    from bloomery.train.parallel import pick_device

    device = str(pick_device(plan.get("memory.device")))
    engine = NativeEngine(load_start(plan, plan.get("seeds")[0], device=device))
    documents, _ = documents_of(table)
    place = np.searchsorted(documents, table.documents())
    nats, tokens = np.zeros((2, len(documents))), np.zeros((2, len(documents)))
    for first in range(0, table.n_rows, AT_ONCE):
        own = [(int(place[i]), row) for i in range(first, min(first + AT_ONCE, table.n_rows)) for row in table.rows(i)]
        asked = [(at, row) for at, row in own if set(row.weight) != {"kl"}]  # those only measure a distance
        for (at, row), logp in zip(asked, engine.score([row for _, row in asked]), strict=True):
            side, trained = _trained(row)
            nats[side, at] -= float(logp[trained].sum(dtype="float64"))
            tokens[side, at] += int(trained.sum())
    better, worse = nats / np.maximum(tokens, 1)
    found: Floats = np.where((tokens > 0).all(0), better - worse, better + worse)  # of one answer, the other is 0
    return found


def _trained(row: TokenRow) -> tuple[int, npt.NDArray[np.bool_]]:
    """(1 for a rejected answer, else 0; which tokens are trained)."""
    weight = row.weight["pref"] if "pref" in row.weight else row.weight["ce"]
    return int(bool((weight < 0).any())), weight != 0
