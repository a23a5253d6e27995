"""Overlap: no row may be trained on and evaluated at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.digest import asked, digest
from bloomery.data.rows import RowTable
from bloomery.data.shapes import Columns, Example, detect, to_example
from bloomery.data.sources import Record, iter_records
from bloomery.data.store import TokenStore
from bloomery.data.turns import message

Digests = npt.NDArray[np.uint64]
Docs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Hashes uint64 of rows that are measured on: of whole `rows`, and of `prompts` whose answers are generated."""

    rows: Digests
    prompts: Digests = field(default_factory=lambda: np.empty(0, np.uint64))

    def among(self, store: TokenStore, docs: Docs) -> npt.NDArray[np.bool_]:
        """Which of `docs` say what is measured on, or ask what is asked there: bool[n]."""
        found: npt.NDArray[np.bool_] = np.isin(store.digests[docs], self.rows)
        found |= np.isin(store.prompts[docs], self.prompts) & (store.prompts[docs] != 0)
        return found


def refuse_overlap(tables: Iterable[RowTable], evaluation: Mapping[str, Evaluated]) -> None:
    """Raises `InputError` if a training row is also an evaluation row; `evaluation` is by a set's name."""
    for table in tables:
        store = table.store
        documents = np.unique(table.documents())
        for name, evaluated in evaluation.items():
            shared = documents[evaluated.among(store, documents)]
            if len(shared):
                examples = ", ".join(store.example_id(int(doc)) for doc in shared[:3])
                raise InputError(
                    f"{len(shared):,} training rows of `{table.name}` are also evaluation rows of `{name}`: {examples}"
                    f"{' ...' if len(shared) > 3 else ''}",
                    fix="remove them from one side: a model that has seen the answers proves nothing",
                )


def without(store: TokenStore, docs: Docs | None, evaluated: Iterable[Evaluated]) -> Docs:
    """Documents of `docs` (None: all) that are not evaluated on: for sources that give way to an evaluation."""
    chosen = np.arange(store.n_docs, dtype=np.int64) if docs is None else docs
    for one in evaluated:
        chosen = chosen[~one.among(store, chosen)]
    return chosen


def suite_digests(path: Path, generated: bool) -> Evaluated:
    """Hashes of the rows of a suite's file, without tokenizing them; of the prompts too where answers are `generated`.

    A row that lacks what training needs, such as an answer, counts by its prompt. Of a conversation with answers
    before the last one the prompt does not count, since its first question may be anybody's.
    """
    rows, prompts = [], []
    for example in suite_examples(path):
        rows.append(digest(example))
        if generated and sum(turn["role"] == "assistant" for turn in example.messages) < 2:
            prompts.append(asked(example))
    return Evaluated(np.array(rows, np.uint64), np.array(prompts, np.uint64))


def suite_examples(path: Path) -> Iterator[Example]:
    """The rows of a suite's file; of one that lacks what training needs, what it asks."""
    records = iter_records(SourceSpec(path=str(path)), path.parent)
    first = next(records)
    columns = _columns(first, path)
    return (_example(record, columns) for record in chain([first], records))


def _columns(first: Record, path: Path) -> Columns | None:
    try:
        return detect(first, SourceSpec(path=str(path)))
    except InputError:
        return None


def _example(record: Record, columns: Columns | None) -> Example:
    try:
        if columns is not None:
            return to_example(record, columns)
    except InputError:
        pass
    return Example("", record.where, messages=(message("user", str(record.fields.get("prompt", ""))),))
