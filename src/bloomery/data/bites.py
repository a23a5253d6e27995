"""The order in which a source is read that is not read whole: a bite of every file in turn, large ones sooner.

A function of the files' names and sizes and of a position: reading can stop at any row and go on from there, and what
is read first is the same on every machine. Files are drawn without replacement with a chance in proportion to their
size (Efraimidis and Spirakis 2006, doi 10.1016/j.ipl.2005.11.003), so that the beginning is made of the parts of the
whole. Each round takes twice as many rows of a file as the one before: of a file that can only be read from its
beginning, no more has to be skipped than is taken.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bloomery.core.errors import InputError, Where
from bloomery.data.paths import format_of, open_bytes
from bloomery.data.readers import READERS, Line, numbered_lines

FIRST = 256
"""Rows of a file in the first round: about a megabyte of web pages, as much as one request is worth."""

_COMMIT = re.compile(r"@[0-9a-f]{40}(?=/)")

Row = dict[str, Any] | bytes
"""Columns of a row; the line as it stands where it is no JSON object."""


@dataclass(frozen=True, slots=True)
class File:
    """A remote file: its address, its bytes, and what tells one version of it from another."""

    address: str
    size: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """So many `rows` into the bite of file number `place` in `round`, all from 0."""

    round: int = 0
    place: int = 0
    rows: int = 0


Read = Callable[[File, int, int], Iterator[Row]]
"""Rows [start, stop) of a file, fewer where it ends before."""


def in_order(files: Sequence[File]) -> list[File]:
    """Files as they are read: by chance, large ones sooner."""
    return sorted(files, key=lambda file: (-math.log(_chance(file)) / max(1, file.size), file.address))


def _chance(file: File) -> float:
    """A number in (0, 1] that hangs on the file's name alone, not on the commit it is read at."""
    digest = hashlib.sha256(_COMMIT.sub("", file.address).encode()).digest()
    return (int.from_bytes(digest[:8], "big") + 1) / 2**64


def walk(files: Sequence[File], at: Position, read: Read) -> Iterator[tuple[Row, File, Position]]:
    """Every row from a position on, with its file and the position after it."""
    spent: set[int] = set()
    while len(spent) < len(files):
        first, last = FIRST * (2**at.round - 1), FIRST * (2 ** (at.round + 1) - 1)
        for place in range(at.place, len(files)):
            if place in spent:
                continue
            count = at.rows if place == at.place else 0
            for row in read(files[place], first + count, last):
                count += 1
                yield row, files[place], Position(at.round, place, count)
            if first + count < last:
                spent.add(place)
        at = Position(at.round + 1)


def read_rows(open_file: Callable[[File], IO[bytes]], wanted: Sequence[str] | None, stated: str = "auto") -> Read:
    """A reader of remote files, Parquet by row groups and JSON lines as far as they are needed; others come whole.

    `wanted` are the columns that are kept (None: all), `stated` the source's `format`.
    """

    def read(file: File, start: int, stop: int) -> Iterator[Row]:
        path = Path(PurePosixPath(file.address).name)
        kind = format_of(path, stated)
        with open_file(file) as remote:
            if kind == "parquet":
                yield from _parquet(remote, file, start, stop, wanted)
            elif kind == "jsonl":
                with open_bytes(path, remote) as lines:
                    plain = (line for _, line in numbered_lines(lines, path) if line.strip())
                    for line in islice(plain, start, stop):
                        yield _parsed(line, wanted)
            else:
                for row in islice(_whole(remote, path, kind), start, stop):
                    yield _kept(row, wanted)

    return read


def _parquet(
    remote: IO[bytes], file: File, start: int, stop: int, wanted: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(remote, buffer_size=1 << 20, pre_buffer=False)
        columns = None if wanted is None else [name for name in table.schema_arrow.names if name in wanted]
        before = 0
        for group in range(table.num_row_groups):
            after = before + table.metadata.row_group(group).num_rows
            if after > start and before < stop:
                rows = _group(table, group, columns)
                yield from islice(rows, max(0, start - before), stop - before)
            before = after
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"is not readable as Parquet: {error}", where=Where(file.address)) from None


def _group(table: Any, group: int, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(batch_size=FIRST, row_groups=[group], columns=columns):
        yield from batch.to_pylist()


def _parsed(line: bytes, wanted: Sequence[str] | None) -> Row:
    try:
        return _kept(Line(line, Where("")).parsed().fields, wanted)
    except InputError:
        return line.strip()  # whoever uses the row refuses or skips it, as the source says


def _kept(fields: dict[str, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    return fields if wanted is None else {name: fields[name] for name in wanted if name in fields}


def _whole(remote: IO[bytes], path: Path, kind: str) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with open(copy, "wb") as file:
            shutil.copyfileobj(remote, file, 1 << 20)
        for record in READERS[kind](copy):
            yield record.fields
