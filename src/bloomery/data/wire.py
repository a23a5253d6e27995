"""What travels between the process that reads a source and those that tokenize it: JSON headers and raw arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from bloomery.core.errors import InputError, Where
from bloomery.data.readers import Record
from bloomery.data.render import Rendered
from bloomery.data.writer import Document

Batch = list[tuple[int, Record]]
Prepared = tuple[list[Document], list[str]]


def send(stream: IO[bytes], value: Any, *arrays: bytes) -> None:
    """Write one message: a JSON line that tells the sizes of the arrays behind it."""
    header = {"value": value, "sizes": [len(array) for array in arrays]}
    stream.write(json.dumps(header, default=str).encode() + b"\n")
    for array in arrays:
        stream.write(array)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Any, list[bytes]]:
    """Read one message; raises EOFError when the other side is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    arrays = [stream.read(size) for size in header["sizes"]]
    if [len(array) for array in arrays] != header["sizes"]:
        raise EOFError
    return header["value"], arrays


def batch_out(batch: Batch) -> list[Any]:
    """A batch of records as JSON."""
    return [[number, record.fields, str(record.where.path), record.where.line] for number, record in batch]


def batch_in(value: Sequence[Any]) -> Batch:
    """The inverse of `batch_out`."""
    return [(number, Record(fields, Where(path, line))) for number, fields, path, line in value]


def prepared_out(prepared: Prepared) -> tuple[Any, bytes, bytes]:
    """Documents as a JSON value and two arrays: all ids int32, all trained masks as bytes."""
    documents, reasons = prepared
    about = [[d.example_id, d.record, str(d.digest), d.rendered.text_bytes, len(d.rendered.ids)] for d in documents]
    ids = b"".join(d.rendered.ids.tobytes() for d in documents)
    trained = b"".join(d.rendered.trained.tobytes() for d in documents)
    return {"documents": about, "reasons": reasons}, ids, trained


def prepared_in(value: Any, arrays: Sequence[bytes]) -> Prepared:
    """The inverse of `prepared_out`; raises the error that the worker met."""
    if "error" in value:
        error = value["error"]
        where = Where(Path(error["path"]), error["line"]) if error["path"] else None
        raise InputError(error["message"], where=where, fix=error["fix"])
    ids, trained = np.frombuffer(arrays[0], np.int32), np.frombuffer(arrays[1], np.bool_)
    documents, start = [], 0
    for example_id, record, digest, text_bytes, length in value["documents"]:
        rendered = Rendered(ids[start : start + length], trained[start : start + length], text_bytes)
        documents.append(Document(rendered, example_id, record, int(digest)))
        start += length
    return documents, value["reasons"]


def error_out(error: InputError) -> Any:
    """An error as JSON."""
    place = error.where
    path, line = (str(place.path), place.line) if place else (None, None)
    return {"error": {"message": error.message, "path": path, "line": line, "fix": error.fix}}
