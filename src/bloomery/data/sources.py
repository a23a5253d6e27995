"""Rows of a source, wherever it lies: files, generated sources, the Hub, buckets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.paths import expand, format_of
from bloomery.data.readers import READERS, Line, Record, read_lines
from bloomery.data.remote import cache_folder, fetch, fetch_dataset, is_remote
from bloomery.data.stream import cut, filled

__all__ = ["Line", "Record", "iter_records", "iter_rows", "source_files"]


def iter_records(spec: SourceSpec, base: Path) -> Iterator[Record]:
    """Yield every row of a source in a fixed order: files by name, rows as they stand.

    `base` is the folder that relative paths start from. Raises `InputError` with file and row for
    anything unreadable, and when the source has no row at all.
    """
    return (row.parsed() if isinstance(row, Line) else row for row in iter_rows(spec, base))


def iter_rows(spec: SourceSpec, base: Path) -> Iterator[Line | Record]:
    """`iter_records` with JSON lines not parsed yet."""
    empty = True
    for row in _builtin(spec) if spec.builtin else _files(spec, base):
        empty = False
        yield row
    if empty:
        place = Where(f"builtin:{spec.builtin}") if spec.builtin else Where(source_files(spec, base)[0])
        raise InputError(f"source `{spec.label}` has no rows", where=place, fix="remove the source, or put rows in it")


def source_files(spec: SourceSpec, base: Path) -> list[Path]:
    """Local files of a source in reading order, each once; remote ones are fetched to the cache first."""
    if spec.take:
        return [piece.path for piece in filled(spec, spec.take, cache_folder()).first(spec.take)]
    if spec.hf:
        return fetch_dataset(spec)
    found: dict[Path, None] = {}
    for pattern in spec.paths:
        found |= dict.fromkeys(fetch(pattern, spec.token) if is_remote(pattern) else expand(pattern, base))
    return list(found)


def _files(spec: SourceSpec, base: Path) -> Iterator[Line | Record]:
    if spec.take:
        yield from cut((line for path in source_files(spec, base) for line in read_lines(path)), spec.take)
        return
    for path in source_files(spec, base):
        kind = format_of(path, spec.format)
        yield from read_lines(path) if kind == "jsonl" else READERS[kind](path)


def _builtin(spec: SourceSpec) -> Iterator[Record]:
    from bloomery.data import builtin

    for number, fields in enumerate(builtin.generate(str(spec.builtin), spec.options), 1):
        yield Record(fields, Where(f"builtin:{spec.builtin}", number))
