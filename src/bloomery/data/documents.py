"""A source's documents, rendered in order: in this process while there are few, then on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from bloomery.data.block import Block
from bloomery.data.config import SourceSpec
from bloomery.data.pool import cores, prepare_all
from bloomery.data.prepare import Batch, Preparation
from bloomery.data.render import Renderer
from bloomery.data.shapes import detect
from bloomery.data.sources import Line, Record, iter_rows

BATCH_ROWS, BATCH_BYTES = 1000, 400_000

SMALL_BATCHES = 16
"""Batches done before processes are started: up to there (6 MB) starting them costs more than they save."""


class Documents:
    """Iterates over a source's documents in blocks; `columns` says how its rows are read."""

    def __init__(self, spec: SourceSpec, base: Path, renderer: Renderer, workers: int | None) -> None:
        """`workers`: processes to use, None for one a core where the source is large enough to pay for them."""
        rows = iter_rows(spec, base)
        first = next(rows)
        found = detect(first.parsed() if isinstance(first, Line) else first, spec)
        self.columns, self._portable = str(found), renderer.portable
        self._prepare = Preparation(renderer, found, spec.bad_rows == "skip")
        self._batches = _batches(chain([first], rows))
        self._workers = cores() if workers is None else workers

    def __iter__(self) -> Iterator[Block]:
        alone = SMALL_BATCHES if self._workers > 1 and self._portable else None
        yield from map(self._prepare, islice(self._batches, alone))
        following = next(self._batches, None)
        if following is not None:
            yield from prepare_all(chain([following], self._batches), self._prepare, self._workers)


def _batches(rows: Iterator[Line | Record]) -> Iterator[Batch]:
    batch: Batch = []
    size = 0
    for number, row in enumerate(rows):
        batch.append((number, row))
        size += len(row.data) if isinstance(row, Line) else _size(row)
        if size >= BATCH_BYTES or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(record: Record) -> int:
    return sum(len(value) if isinstance(value, str) else 100 for value in record.fields.values())
