"""One reader per file format: each yields `Record`s with the file and the row they came from.

A reader refuses what it cannot read, naming file and row; it never skips a row by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bloomery.core.errors import InputError, Where
from bloomery.data.paths import UNREADABLE, open_bytes

MAX_ROW_BYTES = 32 * 2**20
"""Longest row we read: 32 MiB. Above it a file is almost always not line-based at all, and memory is at risk."""


@dataclass(frozen=True, slots=True)
class Record:
    """One raw row: its columns as read, and the file and row it came from (rows count from 1)."""

    fields: dict[str, Any]
    where: Where


@dataclass(frozen=True, slots=True)
class Line:
    """A row that is not parsed yet, so that parsing can be shared out among processes."""

    data: bytes
    where: Where

    def parsed(self) -> Record:
        """The row. Raises `InputError` unless it is a JSON object in UTF-8."""
        return Record(_object(_json(self.data, self.where), self.where), self.where)


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a JSON-lines file but blank ones. Lines above `MAX_ROW_BYTES` are refused."""
    for number, line in _lines(path):
        if line.strip():
            yield Line(line, Where(path, number))


def read_jsonl(path: Path) -> Iterator[Record]:
    """One JSON object a line; blank lines are allowed. Lines above `MAX_ROW_BYTES` are refused."""
    return (line.parsed() for line in read_lines(path))


def once(records: Iterable[Record]) -> Iterator[Record]:
    """The same records. Raises `InputError`, naming both rows, for an `id` that stands twice in one file."""
    seen: dict[tuple[str, str], Where] = {}
    for record in records:
        if (name := record.fields.get("id")) is not None:
            first = seen.setdefault((str(record.where.path), str(name)), record.where)
            if first is not record.where:
                raise InputError(
                    f"the row's `id: {name}` is that of row {first.line}, too",
                    where=record.where,
                    fix="give every row an id of its own, or none",
                )
        yield record


def read_json(path: Path) -> Iterator[Record]:
    """A JSON array of objects (row n is the n-th element), or one object."""
    where = Where(path)
    value = _json(_whole(path), where)
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        yield Record(_object(item, Where(path, number)), Where(path, number))


def read_text(path: Path) -> Iterator[Record]:
    """A text or Markdown file is one row with the column `text`; its id is the file name."""
    where = Where(path, 1)
    yield Record({"id": path.name, "text": _decode(_whole(path), where)}, where)


def read_csv(path: Path, delimiter: str = ",") -> Iterator[Record]:
    """A table with a header line; `where.line` is the line the row ends at. Empty cells are None."""
    import csv

    text = (_decode(line, Where(path, number)) for number, line in _lines(path))
    csv.field_size_limit(MAX_ROW_BYTES)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        for cells in rows:
            where = Where(path, rows.line_num)
            if cells and len(cells) != len(header):
                raise InputError(f"has {len(cells)} cells, the header has {len(header)}", where=where)
            if cells:
                yield Record({key: cell or None for key, cell in zip(header, cells, strict=True)}, where)
    except csv.Error as error:
        raise InputError(f"is not valid CSV: {error}", where=Where(path, rows.line_num)) from None


def read_parquet(path: Path) -> Iterator[Record]:
    """Rows of a Parquet file, read in batches of 1,024."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1024):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(fields, Where(path, number))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"is not readable as Parquet after row {number}: {error}", where=Where(path)) from None


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "tsv": lambda path: read_csv(path, "\t"),
    "parquet": read_parquet,
    "text": read_text,
}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open_bytes(path) as file:
        yield from numbered_lines(file, path)


def numbered_lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1, without a byte order mark; `path` is what an error names."""
    number = 0
    while line := _readline(file, Where(path, number + 1)):
        number += 1
        if number == 1 and line.startswith(b"\xef\xbb\xbf"):
            line = line[3:]
        yield number, line


def _readline(file: IO[bytes], where: Where) -> bytes:
    try:
        line = file.readline(MAX_ROW_BYTES + 1)
    except UNREADABLE as error:
        raise InputError(f"the file cannot be read on: {error}", where=where) from None
    if len(line) > MAX_ROW_BYTES:
        raise InputError(
            f"this line is longer than {MAX_ROW_BYTES >> 20} MiB, the most we read as one row",
            where=where,
            fix="write one JSON object per line, or split the document",
        )
    return line


def _whole(path: Path) -> bytes:
    with open_bytes(path) as file:
        try:
            data = file.read(MAX_ROW_BYTES * 4 + 1)
        except UNREADABLE as error:
            raise InputError(f"the file cannot be read: {error}", where=Where(path)) from None
    if len(data) > MAX_ROW_BYTES * 4:
        raise InputError(
            f"is larger than {MAX_ROW_BYTES >> 18} MiB, the most we read in one piece",
            where=Where(path),
            fix="use JSON Lines (.jsonl) with one row a line",
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def _decode(data: bytes, where: Where) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not valid UTF-8: byte 0x{data[error.start]:02x} at position {error.start} of the row",
            where=where,
            fix="convert the file to UTF-8, for example with `iconv -t utf-8`",
        ) from None


def _json(data: bytes, where: Where) -> Any:
    try:
        return json.loads(_decode(data, where))
    except RecursionError:
        raise InputError("the JSON is nested too deeply", where=where) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        # Of a line, json would count lines from its own beginning.
        told = error.msg if isinstance(error, json.JSONDecodeError) and where.line is not None else error
        raise InputError(f"is not valid JSON: {told}", where=where) from None


def _object(value: Any, where: Where) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"a row must be a JSON object with named columns, this one is a {type(value).__name__}", where=where
        )
    return value
