"""A source's documents, rendered in order: in this process while there are few, then on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from bloomery.data.config import SourceSpec
from bloomery.data.pool import cores, prepare_all
from bloomery.data.prepare import Preparation
from bloomery.data.render import Renderer
from bloomery.data.shapes import detect
from bloomery.data.sources import Record, iter_records
from bloomery.data.wire import Batch, Prepared
from bloomery.data.writer import Document, Stats

BATCH_ROWS, BATCH_CHARACTERS = 1000, 400_000

SMALL_BATCHES = 4
"""Batches done before processes are started: up to there, starting them (0.4 s) costs more than it saves."""


class Documents:
    """Iterates over a source's documents in batches; `columns` says how its rows are read, `stats` counts."""

    def __init__(self, spec: SourceSpec, base: Path, renderer: Renderer, stats: Stats, workers: int | None) -> None:
        """`workers`: processes to use, None for one a core where the source is large enough to pay for them."""
        records = iter_records(spec, base)
        first = next(records)
        found = detect(first, spec)
        self.columns, self._stats, self._renderer = str(found), stats, renderer
        self._prepare = Preparation(renderer, found, spec.bad_rows == "skip")
        self._batches = _batches(chain([first], records))
        self._workers = workers

    def __iter__(self) -> Iterator[list[Document]]:
        for prepared, reasons in self._prepared():
            self._stats.read += len(prepared) + len(reasons)
            self._stats.dropped.update(reasons)
            yield prepared

    def _prepared(self) -> Iterator[Prepared]:
        workers = cores() if self._workers is None else self._workers
        alone = SMALL_BATCHES if workers > 1 and self._renderer.portable else None
        for batch in islice(self._batches, alone):
            yield self._prepare(batch)
        following = next(self._batches, None)
        if following is not None:
            yield from prepare_all(chain([following], self._batches), self._prepare, workers)


def _batches(records: Iterator[Record]) -> Iterator[Batch]:
    batch: Batch = []
    size = 0
    for number, record in enumerate(records):
        batch.append((number, record))
        size += sum(len(value) if isinstance(value, str) else 100 for value in record.fields.values())
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
