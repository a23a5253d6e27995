"""What a run is measured on and does not train on: held-out documents of its sources, and the rows of suites."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.core.files import canonical_hash, write_bytes
from bloomery.data.config import SourceSpec
from bloomery.data.overlap import Evaluated
from bloomery.data.pairs import row_table
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.shapes import PREFERENCES
from bloomery.data.sources import Record, iter_records
from bloomery.data.split import Split, holdout, holdout_rows
from bloomery.data.store import TokenStore, build_store
from bloomery.evals.bootstrap import FEWEST
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.defaults import HOLDOUT
from bloomery.recipes.held_rows import evaluation_rows, own_records
from bloomery.recipes.mixing import source_names
from bloomery.recipes.plan import Plan
from bloomery.recipes.rollouts import TASK

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out rows of one domain source or general suite: as a file for evaluation, as rows for watching the loss."""

    name: str
    role: str
    path: Path
    table: RowTable
    alike: bool = False
    """Whether its rows are told apart by what their text does not hold: it says nothing of what was trained on."""

    def evaluated(self, prompts: bool) -> Evaluated:
        """Hashes of the documents, of their `prompts` too where an answer to one of them proves nothing any more."""
        store, documents = self.table.store, np.unique(self.table.documents())
        whole = Evaluated(store.digests[documents])
        return replace(whole, prompts=store.prompts[documents]) if prompts else whole


def hold_out(
    plan: Plan, stores: Mapping[str, TokenStore], specs: Mapping[str, SourceSpec], folder: Path
) -> tuple[list[Held], dict[str, Any]]:
    """Held-out domain documents, and the documents of each source that stay in training."""
    held, training = [], {}
    domain = [source.name for source in plan.sources if source.role == "domain"]
    for name in domain if plan.get("eval.domain") is None else []:
        games = stores[name].shape == TASK and bool(plan.section("rollouts").get("environment"))
        if games and not _attempted(plan):
            continue  # nothing is graded on it outside of the environment
        split, alike = _split(plan, stores[name], games)
        training[name] = split.train
        if len(split.heldout):
            kept = _kept_out(plan, stores[name], specs[name], split.heldout, "domain", folder)
            held.append(replace(kept, alike=alike))
    return held, training


def _attempted(plan: Plan) -> bool:
    """Whether held-out tasks are attempted: for the report, or while training."""
    return bool(plan.get("rollouts.watch")) or any(step["do"] == "evaluate" for step in plan.get("steps"))


def _split(plan: Plan, store: TokenStore, games: bool) -> tuple[Split, bool]:
    """What is held out of a source, and whether by row: `games` that all begin alike cannot be told apart by text."""
    told = plan.get("data.holdout"), plan.get("data.holdout_least"), plan.get("seed")
    if not games:
        return holdout(store, *told), False
    rows = holdout_rows(store, *told)
    with contextlib.suppress(InputError):
        split = holdout(store, *told)
        if 2 * len(split.heldout) >= len(rows.heldout):
            return split, False
    return rows, True


def _kept_out(
    plan: Plan, store: TokenStore, spec: SourceSpec, docs: npt.NDArray[np.int64], role: str, folder: Path
) -> Held:
    """Documents of a source as held-out rows, in a file of their own."""
    path = folder / "eval" / f"{_file_name(store.name)}.jsonl"
    if not path.exists():
        wanted = {int(store.records[doc]) for doc in docs}
        _write_rows(path, _records(spec, Path(plan.get("base")), wanted), spec)
    return Held(store.name, role, path, held_table(plan, store, docs))


def hold_out_replayed(
    plan: Plan, stores: Mapping[str, TokenStore], specs: Mapping[str, SourceSpec], folder: Path
) -> tuple[list[Held], dict[str, Any]]:
    """`_hold_out` of what is replayed, for families that have no general suite; sources of one document stay whole."""
    held, training = [], {}
    asked = plan.get("eval.general") == "replayed"
    for source in plan.sources:
        if asked and source.role == "curated" and stores[source.name].n_docs >= FEWEST:
            store = stores[source.name]
            split = holdout(store, HOLDOUT, FEWEST, plan.get("seed"))
            training[source.name] = split.train
            held.append(_kept_out(plan, store, specs[source.name], split.heldout, "general", folder))
    return held, training


def suite_rows(plan: Plan, renderer: Renderer, folder: Path) -> list[Held]:
    """The held-out rows that the user named, and the family's general ones."""
    base, found = Path(plan.get("base")), []
    own = [SourceSpec.model_validate(spec) for spec in plan.get("eval.domain") or []]
    named = zip(source_names(own), own, strict=True)
    asked = [("domain", spec.model_copy(update={"name": name})) for name, spec in named]
    for suite in plan.get("eval.suites"):
        if suite["role"] == "general" and suite["path"]:
            asked.append(("general", SourceSpec(path=suite["path"], name=suite["name"])))
    for role, spec in asked:
        store = build_store(spec.label, spec, base, renderer, cache_dir())
        path = folder / "eval" / f"{_file_name(spec.label)}.jsonl"
        if not path.exists():
            _write_rows(path, own_records(spec, base) if role == "domain" else iter_records(spec, base), spec)
        found.append(Held(spec.label, role, path, held_table(plan, store)))
    return found


def refuse_one(plan: Plan, held: Iterable[Held], say: Say) -> None:
    """Refuse evaluation rows of the user's own that are one document, and say where there are few of any."""
    found = [one.table.n_documents for one in held if one.role == "domain"]
    named, documents = plan.get("eval.domain"), sum(found)
    if named and documents < 2:
        raise InputError(
            f"`eval.domain` holds {documents} document, on which no change has an interval",
            fix=f"name at least {FEWEST}, or leave `eval.domain` out: some of the domain are then held out",
        )
    if found and documents < FEWEST:
        key = "eval.domain" if named else "data.holdout"
        say(f"{documents} held-out documents are too few to tell a change from chance: raise `{key}` to {FEWEST}")


def held_table(plan: Plan, store: TokenStore, docs: npt.NDArray[np.int64] | None = None) -> RowTable:
    """Held-out rows for watching the loss: long documents in pieces, preferences whole or not at all."""
    policy = "drop" if store.shape in PREFERENCES else "split"
    return row_table(store, plan.get("context"), policy, 1.0, docs, plan.get("objective"))


def _records(spec: SourceSpec, base: Path, wanted: set[int]) -> Iterable[Record]:
    return (record for number, record in enumerate(iter_records(spec, base)) if number in wanted)


def _write_rows(path: Path, records: Iterable[Record], spec: SourceSpec) -> None:
    """A file of rows as evaluation reads them, readable by its owner only."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation_rows(records, spec)]
    whole = "".join(lines).encode("utf-8", "replace")  # what goes along may hold half a surrogate pair
    write_bytes(path, whole, 0o600)


def _file_name(name: str) -> str:
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:60]
    return plain if plain == name else f"{plain}-{canonical_hash(name)[:8]}"
