"""Near-duplicates: documents that share most of their five-token stretches, found by MinHash.

Broder (1997): the share of equal minima over random hashes estimates the Jaccard similarity of two sets.
All of it is array work over a store's tokens; ten million take about two seconds on one core.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from bloomery.data.cursor import mix
from bloomery.data.store import TokenStore

SHINGLE = 5
"""Tokens in a stretch."""

HASHES, BAND = 32, 2
"""Minima kept per document, and how many must agree at once to compare two documents (16 bands of 2:
at similarity 0.5 two documents are compared with probability 0.99)."""

ALIKE = 0.4
"""Estimated similarity from which documents count as near-duplicates; unrelated ones are near 0. Its standard
deviation is 0.09: keeping two documents too many together costs less than measuring on what was trained."""

COMMON = 0.05
"""A stretch in more than this share of documents (and in 50) is boilerplate (a system prompt) and does not count."""

_CHUNK = 1 << 22
_BUCKETS = 1 << 22
_MAX = np.uint64(0xFFFFFFFFFFFFFFFF)
Hashes = npt.NDArray[np.uint64]


def clusters(store: TokenStore) -> npt.NDArray[np.int64]:
    """int64[n_docs]: the number of each document's cluster, which is its smallest member."""
    found = _Groups(store.n_docs)
    _, first, group = np.unique(store.digests, return_index=True, return_inverse=True)
    for index in np.flatnonzero(first[group] != np.arange(store.n_docs)).tolist():
        found.join(int(first[group[index]]), index)
    signatures = minima(store)
    filled = np.flatnonzero(signatures[:, 0] != np.uint32(0xFFFFFFFF))
    for start in range(0, HASHES, BAND):
        seen: dict[bytes, int] = {}
        for index in filled.tolist():
            key = signatures[index, start : start + BAND].tobytes()
            other = seen.setdefault(key, index)
            if other == index or found.same(other, index):
                continue
            if np.mean(signatures[other] == signatures[index]) >= ALIKE:
                found.join(other, index)
    return found.roots()


def minima(store: TokenStore) -> npt.NDArray[np.uint32]:
    """MinHash signatures uint32[n_docs, HASHES]; all ones for documents shorter than a shingle."""
    counts = np.zeros(_BUCKETS, np.int32)
    for first, last in _chunks(store):
        counts += np.bincount(_bucket(_shingles(store, first, last)[0]), minlength=_BUCKETS).astype(np.int32)
    limit = max(50, COMMON * store.n_docs)
    signatures = np.full((store.n_docs, HASHES), 0xFFFFFFFF, np.uint32)
    salts = mix(np.arange(2 * HASHES, dtype=np.uint64), 0).reshape(2, HASHES)
    for first, last in _chunks(store):
        hashes, starts = _shingles(store, first, last)
        rare = (counts[_bucket(hashes)] <= limit) & (hashes != _MAX)
        for number, (salt, factor) in enumerate(zip(*salts, strict=True)):
            mixed = ((hashes ^ salt) * (factor | np.uint64(1))) >> np.uint64(32)
            mixed[~rare] = 0xFFFFFFFF
            signatures[first:last, number] = np.minimum.reduceat(mixed, starts).astype(np.uint32)
    return signatures


def _chunks(store: TokenStore) -> list[tuple[int, int]]:
    """Ranges of documents of about `_CHUNK` tokens each."""
    cuts = np.searchsorted(store.offsets, np.arange(0, store.n_tokens, _CHUNK)).tolist()
    edges = sorted({min(cut, store.n_docs) for cut in [*cuts, store.n_docs]})
    return list(zip(edges, edges[1:], strict=False))


def _shingles(store: TokenStore, first: int, last: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """A hash for each token's stretch (all ones where it would leave its document), and where documents start."""
    ids = store.span(first, last).astype(np.uint64)
    hashes = np.zeros(len(ids), np.uint64)
    for step in range(SHINGLE):
        hashes = hashes * np.uint64(0x100000001B3) + np.roll(ids, -step) + np.uint64(1)
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(32)
    starts = store.offsets[first:last] - store.offsets[first]
    ends = starts + store.lengths[first:last]
    for back in range(1, SHINGLE):
        hashes[np.maximum(ends - back, starts)] = _MAX
    return hashes, starts


def _bucket(hashes: Hashes) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(42)).astype(np.int64)


class _Groups:
    """Union-find over 0..n-1; a group is named by its smallest member."""

    def __init__(self, count: int) -> None:
        self._parent: defaultdict[int, int] = defaultdict(lambda: -1)
        self._count = count

    def root(self, index: int) -> int:
        while self._parent[index] >= 0:
            index = self._parent[index]
        return index

    def same(self, one: int, other: int) -> bool:
        return self.root(one) == self.root(other)

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        if low != high:
            self._parent[high] = low

    def roots(self) -> npt.NDArray[np.int64]:
        return np.fromiter((self.root(index) for index in range(self._count)), np.int64, self._count)
