"""Contamination: how much of what a run is measured on stands word for word in what it trains on.

Rows that are equal are refused (`overlap.py`); this counts the rest. Two documents share a passage where 13 tokens in a
row agree, the length that GPT-3 took (arXiv 2005.14165, appendix C); an evaluation document counts as covered where
such passages make up half of it, as in Tulu 3 (arXiv 2411.15124, section 3.2). All is array work over token stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.rows import Ids
from bloomery.data.rows import RowTable
from bloomery.data.store import TokenStore

PASSAGE = 13
"""Tokens in a row that two documents must share."""
COVERED = 0.5
"""Share of a document's tokens in shared passages from which it counts as covered."""
USUAL, USUAL_SHARE = 10, 0.01
"""A passage in more evaluation documents than this, and than this share of them, is a form they have in common."""

_CHUNK = 1 << 21
_BUCKETS = 20
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Documents that are measured on: their tokens one after the other, and int64[n] how long each is."""

    ids: Ids
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of_table(cls, table: RowTable) -> Measured:
        """The documents that a table of held-out rows was made of."""
        docs = np.unique(table.documents())
        return cls.of([table.store.document(int(doc))[0] for doc in docs])

    @classmethod
    def of(cls, documents: Sequence[Sequence[int] | Ids]) -> Measured:
        """Documents of token ids; -1 between two of them means that no passage goes on there."""
        arrays = [np.asarray(document, np.int32) for document in documents]
        return cls(np.concatenate([*arrays, np.empty(0, np.int32)]), np.array([len(a) for a in arrays], np.int64))


@dataclass(frozen=True, slots=True)
class Touched:
    """Evaluation documents that share a passage with a source, those covered by such, and all that are long enough."""

    touched: int
    covered: int
    documents: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with the share of documents touched."""
        return {**asdict(self), "share": round(self.touched / self.documents, 6) if self.documents else 0.0}


def contamination(tables: Iterable[RowTable], sets: Mapping[str, Measured]) -> dict[str, dict[str, Touched]]:
    """What each source shares with each evaluation set, by their names; documents of a source that are not used do not
    count."""
    passages = {name: _Passages(one) for name, one in sets.items()}
    known = np.unique(np.concatenate([*(one.hashes for one in passages.values()), np.empty(0, np.uint64)]))
    found = {}
    for table in tables:
        shared = _shared(table, known)
        found[table.name] = {name: one.touched_by(shared) for name, one in passages.items()}
    return found


class _Passages:
    """The passages of an evaluation set that are its documents' own."""

    def __init__(self, measured: Measured) -> None:
        self._starts = np.cumsum(measured.lengths) - measured.lengths
        self._lengths = measured.lengths
        hashes, inside = passages(measured.ids, measured.lengths)
        inside &= ~_broken(measured.ids)
        places = np.flatnonzero(inside)
        document = np.searchsorted(np.cumsum(measured.lengths), places, side="right")
        order = np.argsort(hashes[places], kind="stable")  # so that documents ascend among equal hashes
        places, document, hashes = places[order], document[order], hashes[places[order]]
        fresh = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
        again = ~fresh & (document == np.roll(document, 1))
        starts = np.flatnonzero(fresh)
        counts = np.add.reduceat(~again, starts, dtype=np.int64) if len(starts) else starts
        own = np.repeat(
            counts <= max(USUAL, USUAL_SHARE * len(measured.lengths)), np.diff(np.append(starts, len(places)))
        )
        self.hashes, self._places, self._document = hashes[own], places[own], document[own]

    def touched_by(self, shared: Hashes) -> Touched:
        """`shared` are the hashes, ascending, that stand in a source too."""
        hit = np.isin(self.hashes, shared)
        edges = np.zeros(int(self._lengths.sum()) + 1, np.int64)
        np.add.at(edges, self._places[hit], 1)
        np.add.at(edges, self._places[hit] + PASSAGE, -1)
        tokens = np.append(np.cumsum(np.cumsum(edges)[:-1] > 0), 0)
        ends = self._starts + self._lengths
        inside = tokens[ends - 1] - np.where(self._starts > 0, tokens[self._starts - 1], 0)
        long = self._lengths >= PASSAGE
        covered = int((long & (inside >= COVERED * self._lengths)).sum())
        return Touched(len(np.unique(self._document[hit])), covered, int(long.sum()))


def _shared(table: RowTable, known: Hashes) -> Hashes:
    """Those of `known` that stand in the documents that a table uses."""
    store, used = table.store, np.zeros(table.store.n_docs, np.bool_)
    used[np.unique(table.documents())] = True
    likely = np.zeros(1 << _BUCKETS, np.bool_)
    likely[_bucket(known)] = True
    found = np.zeros(len(known), np.bool_)
    for first, last in _chunks(store):
        hashes, inside = passages(store.span(first, last), store.lengths[first:last])
        inside &= np.repeat(used[first:last], store.lengths[first:last]) & likely[_bucket(hashes)]
        if inside.any():
            place = np.minimum(np.searchsorted(known, hashes[inside]), len(known) - 1)
            found[place[known[place] == hashes[inside]]] = True
    return known[found]


def _chunks(store: TokenStore) -> list[tuple[int, int]]:
    """Ranges of whole documents of about `_CHUNK` tokens each."""
    cuts = np.searchsorted(store.offsets, np.arange(0, store.n_tokens, _CHUNK)).tolist()
    edges = sorted({min(cut, store.n_docs) for cut in [*cuts, store.n_docs]})
    return list(zip(edges, edges[1:], strict=False))


def passages(ids: Ids, lengths: npt.NDArray[np.int64]) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """A hash of the passage that begins at each token, and whether it ends within its document.

    Built from halves: hashes of 1, 2, 4 and 8 tokens make one of 13 with five multiplications a token.
    """
    piece = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    whole, offset, width = np.zeros(len(ids), np.uint64), 0, 1
    while width <= PASSAGE:
        if PASSAGE & width:
            whole = _joined(whole, np.roll(piece, -offset))
            offset += width
        piece = _joined(piece, np.roll(piece, -width))
        width *= 2
    inside = np.ones(len(ids), np.bool_)
    ends = np.cumsum(lengths)
    for back in range(1, PASSAGE):
        inside[np.maximum(ends - back, ends - lengths)[lengths > 0]] = False
    return whole, inside


def _joined(left: Hashes, right: Hashes) -> Hashes:
    joined = (left ^ (left >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + right
    return joined ^ (joined >> np.uint64(32))


def _broken(ids: Ids) -> npt.NDArray[np.bool_]:
    """Where a passage would reach over a break (-1)."""
    breaks: npt.NDArray[np.int64] = np.append(np.zeros(1, np.int64), np.cumsum(ids < 0, dtype=np.int64))
    last = np.minimum(np.arange(len(ids)) + PASSAGE, len(ids))
    found: npt.NDArray[np.bool_] = np.not_equal(breaks[last], breaks[:-1])
    return found


def _bucket(hashes: Hashes) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(64 - _BUCKETS)).astype(np.int64)
