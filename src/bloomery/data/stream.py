"""The part of a remote source that was fetched: pieces in the cache, one after the other, in a fixed order of rows.

A smaller part is the beginning of a larger one, so what is there serves every run that needs no more, without a
network. A piece is a compressed file of JSON lines beside a JSON file with its sha256 and the position after it; it
counts from the moment that the second one is there, and fetching goes on after the last piece that counts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import zstandard

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import (
    canonical_hash,
    read_json,
    sha256_file,
    sweep_unfinished,
    waiting_lock,
    write_bytes,
    write_json,
)
from bloomery.data.bites import File, Position, Row, in_order, read_rows, walk
from bloomery.data.config import SourceSpec
from bloomery.data.origin import look, open_remote
from bloomery.data.readers import Record
from bloomery.data.shapes import detect

FORMAT = 1
"""Layout of the cache, and the order in which a source is read; part of every key."""
TOKEN_BYTES = 5
"""Bytes of a kept row that count as one token: four characters of English, and a quarter for JSON and other letters."""
PIECE = 8 << 20
"""Bytes of rows in a piece: what an interruption can lose."""
ALSO = ("id", "skill", "reference_answer", "metadata")
"""Columns that are kept beside those that are trained on: graders read them."""
ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of rows: its sha256, rows, bytes unpacked, the position after it, rows by remote file."""

    path: Path
    sha256: str
    rows: int
    bytes: int
    after: Position
    ended: bool
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """What was fetched of a source. `spec` is pinned to a commit, `licence` what its data set's card says."""

    spec: SourceSpec
    folder: Path
    licence: str | None
    remote: tuple[File, ...]
    kept: tuple[str, ...] | None
    pieces: tuple[Piece, ...]

    @property
    def tokens(self) -> int:
        """Tokens' worth of rows that are here, at `TOKEN_BYTES` a token."""
        return sum(piece.bytes for piece in self.pieces) // TOKEN_BYTES

    @property
    def ended(self) -> bool:
        """Whether all of the source is here."""
        return bool(self.pieces) and self.pieces[-1].ended

    @property
    def disk(self) -> int:
        """Bytes that the pieces take on disk."""
        return sum(piece.path.stat().st_size for piece in self.pieces)

    def holds(self, tokens: int) -> bool:
        """Whether so many tokens' worth are here, or all that there is."""
        return self.ended or sum(piece.bytes for piece in self.pieces) >= tokens * TOKEN_BYTES

    def first(self, tokens: int) -> list[Piece]:
        """The pieces that hold so many tokens' worth; all where there are fewer. Raises `DamagedError`."""
        found: list[Piece] = []
        for piece in self.pieces:
            if sum(one.bytes for one in found) >= tokens * TOKEN_BYTES:
                break
            _verify(piece.path, piece.sha256, piece.path.stat().st_mtime_ns)
            found.append(piece)
        return found


class Short(InputError):
    """A source could not be fetched as far as it is needed."""


Progress = Callable[[Stream], None]
"""Called with the stream as it is after each piece."""


def opened(spec: SourceSpec, cache: Path) -> Stream | None:
    """What is in the cache of a source, at the commit it was first fetched at; None for nothing. Uses no network."""
    alias = cache / "streams" / f"{_key(spec)}.json"
    if alias.is_file():
        spec = spec.model_copy(update=read_json(alias))
    folder = _folder(spec, cache)
    if not (folder / ABOUT).is_file():
        return None
    about = read_json(folder / ABOUT)
    remote = tuple(File(*one) for one in about["files"])
    kept = None if about["kept"] is None else tuple(about["kept"])
    return Stream(spec, folder, about["licence"], remote, kept, tuple(_pieces(folder)))


def filled(spec: SourceSpec, tokens: int, cache: Path, progress: Progress | None = None) -> Stream:
    """The stream of a source with at least `tokens` tokens' worth of rows, or all there are; fetches what is missing.

    A second process that fetches the same source is waited for. Raises `InputError` for what cannot be fetched; what
    has come before that stays, and the next call goes on after it.
    """
    stream = opened(spec, cache)
    if stream is not None and stream.holds(tokens):
        return stream
    (cache / "streams").mkdir(parents=True, exist_ok=True)
    try:
        with waiting_lock(cache / "streams" / f".{_key(spec)}.lock", f"the stream of `{spec.label}`"):
            stream = opened(spec, cache) or _begun(spec, cache)
        # Others may know the same commit by another name.
        with waiting_lock(stream.folder / ".lock", f"the stream of `{spec.label}`"):
            sweep_unfinished(stream.folder)
            stream = opened(stream.spec, cache) or stream
            for grown in _growing(stream, tokens):
                stream = grown
                if progress:
                    progress(stream)
    except InputError as error:
        raise _short(spec, tokens, stream.tokens if stream else 0, error) from None
    return stream


def _short(spec: SourceSpec, tokens: int, here: int, error: InputError) -> Short:
    message = f"`{spec.label}`: {here:,} of {tokens:,} tokens are in the cache, {tokens - here:,} are missing"
    return Short(f"{message}; {error.message}", where=error.where, fix=error.fix)


def _begun(spec: SourceSpec, cache: Path) -> Stream:
    """An empty stream at the commit that the source has now."""
    origin = look(spec)
    whole = spec.model_copy(update=origin.pins)
    files = in_order(origin.files)
    folder = _folder(whole, cache)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = {
        "source": whole.label,
        "pins": origin.pins,
        "licence": origin.licence,
        "kept": _kept(whole, files[0]),
        "files": [[file.address, file.size, file.version] for file in files],
    }
    write_json(folder / ABOUT, about, 0o600)
    if origin.pins:
        write_json(cache / "streams" / f"{_key(spec)}.json", origin.pins, 0o600)
    found = opened(whole, cache)
    assert found is not None
    return found


def _kept(spec: SourceSpec, file: File) -> list[str] | None:
    """The columns that rows are kept with, by the first one; None for all, where it is of no known shape."""
    first = next(read_rows(lambda one: open_remote(one, spec.token), None, spec.format)(file, 0, 1), None)
    if not isinstance(first, dict):
        return None
    try:
        found = detect(Record(first, Where(file.address, 1)), spec)
    except InputError:
        return None
    return sorted({*found.by_role.values(), *ALSO} & set(first))


def _growing(stream: Stream, tokens: int) -> Iterator[Stream]:
    """The stream after each further piece, until it holds what is wanted."""
    at = stream.pieces[-1].after if stream.pieces else Position()
    read = read_rows(lambda one: open_remote(one, stream.spec.token), stream.kept, stream.spec.format)
    rows = walk(stream.remote, at, read)
    while not stream.holds(tokens):
        had = sum(piece.bytes for piece in stream.pieces)
        piece = _written(stream, rows, min(PIECE, tokens * TOKEN_BYTES - had), at)
        at = piece.after
        stream = replace(stream, pieces=(*stream.pieces, piece))
        yield stream


def _written(stream: Stream, rows: Iterator[tuple[Row, File, Position]], wanted: int, at: Position) -> Piece:
    """The next piece on disk: rows until they have so many bytes, or there are no more."""
    lines: list[bytes] = []
    files: Counter[str] = Counter()
    size = 0
    ended = True
    for row, file, after in rows:
        lines.append(_line(row))
        size, at = size + len(lines[-1]), after
        files[file.address] += 1
        if size >= wanted:
            ended = False
            break
    path = stream.folder / f"{len(stream.pieces):06}.jsonl.zst"
    write_bytes(path, zstandard.ZstdCompressor(level=6).compress(b"".join(lines)), 0o600)
    piece = Piece(path, sha256_file(path), len(lines), size, at, ended, dict(files))
    write_json(path.with_suffix("").with_suffix(".json"), {**asdict(piece), "path": path.name}, 0o600)
    return piece


def _line(row: Row) -> bytes:
    if isinstance(row, bytes):
        return row + b"\n"
    try:
        return (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode()
    except UnicodeEncodeError:  # half a surrogate pair: whoever reads the row refuses or skips it
        return (json.dumps(row, default=str) + "\n").encode()


def _pieces(folder: Path) -> Iterator[Piece]:
    """The pieces that count, in order."""
    for number in range(10**6):
        path = folder / f"{number:06}.json"
        if not path.is_file():
            return
        told = read_json(path)
        try:
            yield Piece(**{**told, "path": folder / told["path"], "after": Position(**told["after"])})
        except (TypeError, KeyError):
            raise DamagedError("is not what we wrote", where=Where(path), fix=f"delete {folder}") from None


@lru_cache(maxsize=4096)
def _verify(path: Path, sha256: str, changed: int) -> None:
    """Compare a piece with its hash, once a process while it is not touched (`changed`, in ns)."""
    if sha256_file(path) != sha256:
        fix = f"delete {path.parent}; it is fetched again"
        raise DamagedError("its sha256 is not that of what was fetched", where=Where(path), fix=fix)


def _folder(spec: SourceSpec, cache: Path) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.hf or spec.label).strip(".-")[:60] or "source"
    return cache / "streams" / f"{plain}-{_key(spec)}"


def _key(spec: SourceSpec) -> str:
    """By what decides the rows; not by how many are taken, the source's name or who asks."""
    origin = [spec.hf, spec.config, spec.split, spec.revision] if spec.hf else spec.paths
    return canonical_hash([FORMAT, origin, spec.shape, dict(spec.columns), spec.format])[:20]


def rows_by_file(pieces: list[Piece]) -> dict[str, int]:
    """Rows taken of each remote file."""
    total: Counter[str] = Counter()
    for piece in pieces:
        total.update(piece.files)
    return dict(sorted(total.items()))


def cut(rows: Iterator[Any], tokens: int) -> Iterator[Any]:
    """Lines until they hold `tokens` tokens' worth, so that a part ends at one row however much was fetched."""
    left = tokens * TOKEN_BYTES
    for row in rows:
        if left <= 0:
            return
        left -= len(row.data)
        yield row
