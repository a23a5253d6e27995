"""A source's documents, rendered in order: in this process while there are few, then on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bloomery.data.block import Block
from bloomery.data.config import SourceSpec
from bloomery.data.paths import COMPRESSED
from bloomery.data.pool import cores, prepare_all
from bloomery.data.prepare import Batch, Preparation
from bloomery.data.render import Renderer
from bloomery.data.shapes import detect
from bloomery.data.sources import Line, Record, iter_rows, source_files

BATCH_ROWS, BATCH_BYTES = 1000, 400_000

SMALL = 8_000_000
"""Bytes that one process does in 1.5 seconds: only beyond them are more processes worth their start."""

PACKED = 4
"""Bytes of text in a byte of a compressed file, about."""


class Documents:
    """Iterates over a source's documents in blocks; `columns` says how its rows are read."""

    def __init__(self, spec: SourceSpec, base: Path, renderer: Renderer, workers: int | None) -> None:
        """`workers`: processes to use, None for one a core where the source is large enough to pay for them."""
        rows = iter_rows(spec, base)
        first = next(rows)
        found = detect(first.parsed() if isinstance(first, Line) else first, spec)
        self.columns = str(found)
        self._prepare = Preparation(renderer, found, spec.bad_rows == "skip")
        self._batches = _batches(chain([first], rows))
        self._large = _large(spec, base)
        self._workers = cores() if workers is None else workers

    def __iter__(self) -> Iterator[Block]:
        shared = self._workers > 1
        if shared and not self._large:
            yield from map(self._prepare, self._first_bytes())
        elif not shared:
            yield from map(self._prepare, self._batches)
        following = next(self._batches, None)
        if following is not None:
            yield from prepare_all(chain([following], self._batches), self._prepare, self._workers)

    def _first_bytes(self) -> Iterator[Batch]:
        done = 0
        while done < SMALL and (batch := next(self._batches, None)):
            done += sum(map(_size, (row for _, row in batch)))
            yield batch


def _large(spec: SourceSpec, base: Path) -> bool:
    """Whether a source is known to be large before it is read."""
    files = [] if spec.builtin else source_files(spec, base)
    return sum(path.stat().st_size * (PACKED if path.suffix in COMPRESSED else 1) for path in files) > SMALL


def _batches(rows: Iterator[Line | Record]) -> Iterator[Batch]:
    batch: Batch = []
    size = 0
    for number, row in enumerate(rows):
        batch.append((number, row))
        size += _size(row)
        if size >= BATCH_BYTES or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(row: Line | Record) -> int:
    """About how many bytes of text a row holds."""
    if isinstance(row, Line):
        return len(row.data)
    return sum(len(value) if isinstance(value, str) else 100 for value in row.fields.values())
