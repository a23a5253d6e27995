"""The token store: one source's documents as memory-mapped token ids, built once and reused.

A store is a published folder (manifest with sha256 of every file) in the cache, named by what it
depends on. It is verified whenever it is opened; a store with a changed bit is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.files import MANIFEST, building_folder, canonical_hash, read_json, verify_folder, waiting_lock
from bloomery.core.rows import Ids
from bloomery.data.block import PER_DOCUMENT
from bloomery.data.config import SourceSpec
from bloomery.data.documents import Documents
from bloomery.data.keys import folder_name, read_files, store_key
from bloomery.data.render import Mask, Renderer
from bloomery.data.writer import Stats, StoreWriter

TRAINED_ON = ("ids", "trained", "lengths", "desired")
"""Files of a store that decide its rows; the others describe them."""

Progress = Callable[[int, int], None]
"""Called with rows and tokens stored so far."""


class TokenStore:
    """Documents of one source as token ids; opening verifies every byte against the manifest.

    `offsets` is int64[n_docs + 1], the first token of each document; `lengths` int64[n_docs] in tokens, `desired`
    int64[n_docs] how many of them come before a rejected row (all, but for preferences),
    `text_bytes` int64[n_docs] in UTF-8 bytes, `records` int64[n_docs] the row number in the source (from 0),
    `files` are [name, sha256] of what was read, `content` a hash of all that is trained on, whichever way it was made.
    `digests` uint64[n_docs] a hash of the normalised text, `prompts` uint64[n_docs] one of what is asked (0: nothing),
    `groups` uint64[n_docs] one of the group (0: none).
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Raises `DamagedError` naming the file that is missing, truncated or changed."""
        try:
            about = verify_folder(path)
        except DamagedError as error:
            raise DamagedError(error.message, where=error.where, fix=f"delete {path}; it is built again") from None
        self.path, self.name = path, name or str(about["name"])
        self.columns: str = about["columns"]
        self.files: list[list[str]] = about["files"]
        hashes = read_json(path / MANIFEST)["files"]
        self.content = canonical_hash([hashes[f"{name}.bin"]["sha256"] for name in TRAINED_ON])
        self.shape = self.columns.split(":")[0]
        self.stats = Stats.from_json(about["stats"])
        self.n_docs, self.n_tokens = self.stats.kept, self.stats.tokens
        self._ids = self._map("ids", about["dtype"])
        self._bits = self._map("trained", "u1")
        self._name_text = self._map("names", "u1")
        arrays = {name: np.fromfile(path / f"{name}.bin", dtype) for name, dtype in PER_DOCUMENT.items()}
        self.lengths: npt.NDArray[np.int64] = arrays["lengths"]
        self.desired: npt.NDArray[np.int64] = arrays["desired"]
        self.text_bytes: npt.NDArray[np.int64] = arrays["text_bytes"]
        self.records: npt.NDArray[np.int64] = arrays["records"]
        self.digests: npt.NDArray[np.uint64] = arrays["digests"]
        self.prompts: npt.NDArray[np.uint64] = arrays["prompts"]
        self.groups: npt.NDArray[np.uint64] = arrays["groups"]
        self.offsets = _edges(self.lengths)
        self._name_edges, self._bit_edges = _edges(arrays["name_sizes"]), _edges((self.lengths + 7) // 8)

    def document(self, index: int) -> tuple[Ids, Mask, str]:
        """Ids int32[T], trained bool[T] and the example id of document `index` (from 0)."""
        return *self.tokens(index, 0, int(self.lengths[index])), self.example_id(index)

    def tokens(self, index: int, start: int, stop: int) -> tuple[Ids, Mask]:
        """Ids int32 and trained bool of tokens [start, stop) of one document."""
        first = int(self.offsets[index])
        return self._ids[first + start : first + stop].astype(np.int32), self._mask(index, start, stop)

    def span(self, first: int, last: int) -> Ids:
        """Ids int32 of documents [first, last), one after the other."""
        ids: Ids = self._ids[self.offsets[first] : self.offsets[last]].astype(np.int32)
        return ids

    def trained_counts(
        self, docs: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """How many of tokens [start, stop) of each document are trained, int64; reads the masks, not the ids."""
        counts = np.empty(len(docs), np.int64)
        for place, (doc, start, stop) in enumerate(zip(docs.tolist(), starts.tolist(), stops.tolist(), strict=True)):
            counts[place] = np.count_nonzero(self._mask(doc, start, stop))
        return counts

    def _mask(self, index: int, start: int, stop: int) -> Mask:
        bit = int(self._bit_edges[index])
        bits = np.unpackbits(self._bits[bit + start // 8 : bit + (stop + 7) // 8])
        return bits[start % 8 : start % 8 + stop - start].astype(np.bool_)

    def example_id(self, index: int) -> str:
        """The id the row came with, or `file:row`."""
        return bytes(self._name_text[self._name_edges[index] : self._name_edges[index + 1]]).decode()

    def _map(self, name: str, dtype: str) -> npt.NDArray[Any]:
        path = self.path / f"{name}.bin"
        # The plain view: slicing an np.memmap builds a subclass each time, which costs more than the copy.
        return np.asarray(np.memmap(path, dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype)


def _edges(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of consecutive stretches begins, and where the last one ends: int64[n + 1]."""
    return np.append(np.zeros(1, np.int64), np.cumsum(sizes))


def build_store(
    name: str,
    spec: SourceSpec,
    base: Path,
    renderer: Renderer,
    cache: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """The token store of a source: opened if it was built before from the same content, else built.

    `base` is the folder that relative paths start from, `workers` the number of processes (None: all
    cores where the source is large enough). A second process that wants the same store waits for
    the first. Raises `InputError` for unusable rows, `DamagedError` when the stored bytes changed.
    """
    key = store_key(spec, base, renderer.fingerprint, cache)
    final = cache / "tokens" / folder_name(name, key)
    cache.mkdir(parents=True, exist_ok=True)
    final.parent.mkdir(mode=0o700, exist_ok=True)
    with waiting_lock(final.parent / f".{final.name}.lock", f"the token store of `{name}`"):
        if not final.exists():
            for left in final.parent.glob(f".{final.name}.*.building"):  # of a builder that was killed
                shutil.rmtree(left, ignore_errors=True)
            about = {"name": name, "files": read_files(spec, base, cache)}
            _build(about, spec, base, renderer, final, workers, progress)
    return TokenStore(final, name)


def _build(
    about: dict[str, Any],
    spec: SourceSpec,
    base: Path,
    renderer: Renderer,
    final: Path,
    workers: int | None,
    progress: Progress | None,
) -> None:
    with building_folder(final, about, 0o700) as folder:  # its ids are the user's rows, spelt otherwise
        writer = StoreWriter(folder, renderer.vocabulary.size)
        try:
            source = Documents(spec, base, renderer, workers)
            for block in source:
                writer.add(block)
                if progress:
                    progress(writer.stats.kept, writer.stats.tokens)
        finally:
            writer.close()
        _check_dropped(spec, writer.stats)
        about |= {"dtype": writer.dtype.str, "columns": source.columns, "stats": writer.stats.to_json()}


def _check_dropped(spec: SourceSpec, stats: Stats) -> None:
    lost = stats.read - stats.kept
    if lost > spec.drop_limit * stats.read:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in stats.dropped.most_common(3))
        raise InputError(
            f"source `{spec.label}`: {lost:,} of {stats.read:,} rows cannot be used ({reasons}), "
            f"above `drop_limit: {spec.drop_limit:g}`",
            fix="correct the rows, or raise `drop_limit` on the source",
        )
