"""What travels between the process that reads a source and those that tokenize it: JSON headers and raw arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from bloomery.core.errors import InputError, Where
from bloomery.data.block import PER_DOCUMENT, Block
from bloomery.data.prepare import Batch
from bloomery.data.readers import Line, Record


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


def batch_out(batch: Batch) -> tuple[list[Any], bytes]:
    """A batch as JSON, and the bytes of its unparsed lines."""
    lines = [row.data for _, row in batch if isinstance(row, Line)]
    rows = [
        [number, str(row.where.path), row.where.line, len(row.data) if isinstance(row, Line) else row.fields]
        for number, row in batch
    ]
    return rows, b"".join(lines)


def batch_in(value: Sequence[Any], lines: bytes) -> Batch:
    """The inverse of `batch_out`."""
    batch: Batch = []
    start = 0
    for number, path, line, content in value:
        where = Where(path, line)
        if isinstance(content, int):
            batch.append((number, Line(lines[start : start + content], where)))
            start += content
        else:
            batch.append((number, Record(content, where)))
    return batch


def block_out(block: Block) -> tuple[Any, list[bytes]]:
    """A block as a JSON value and its arrays."""
    about = [block.about[name].tobytes() for name in PER_DOCUMENT]
    return {"trained": block.trained, "reasons": block.reasons}, [block.ids.tobytes(), block.bits, block.names, *about]


def block_in(value: Any, arrays: Sequence[bytes]) -> Block:
    """The inverse of `block_out`; raises the error that the worker met."""
    if "error" in value:
        error = value["error"]
        where = Where(Path(error["path"]), error["line"]) if error["path"] else None
        raise InputError(error["message"], where=where, fix=error["fix"])
    ids, bits, names, *rest = arrays
    about = {name: np.frombuffer(data, PER_DOCUMENT[name]) for name, data in zip(PER_DOCUMENT, rest, strict=True)}
    return Block(np.frombuffer(ids, np.int32), bits, names, about, value["trained"], value["reasons"])


def error_out(error: InputError) -> Any:
    """An error as JSON."""
    place = error.where
    path, line = (str(place.path), place.line) if place else (None, None)
    return {"error": {"message": error.message, "path": path, "line": line, "fix": error.fix}}
