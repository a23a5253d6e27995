"""Which files a source names, and how their bytes are opened: globs, folders, compression."""

from __future__ import annotations

import glob
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

import zstandard

from bloomery.core.errors import InputError, Where

UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError)
"""What reading a damaged or cut-off file raises, by compression."""

COMPRESSED = {".gz", ".xz", ".zst"}
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
    ".rst": "text",
}


def expand(pattern: str, base: Path) -> list[Path]:
    """Files of a path, folder or glob (`**` allowed) relative to `base`, sorted by name.

    Raises `InputError` when nothing matches; a folder gives every file below it whose format is known.
    """
    full = base / Path(pattern).expanduser()
    if full.is_dir():
        files = sorted(
            p for p in full.rglob("*") if p.is_file() and format_suffix(p) in FORMATS and not _hidden(p, full)
        )
    elif full.is_file():
        files = [full]
    else:
        matches = glob.glob(str(full), recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
        files = sorted(Path(match) for match in matches if Path(match).is_file())
    if not files and full.is_dir():
        raise InputError(
            f"`path: {pattern}` is a folder without a file that we read; known: {', '.join(sorted(FORMATS))}",
            where=Where(full),
            fix="put files with these extensions in it, or name one file and its `format:`",
        )
    if not files:
        raise InputError(
            f"`path: {pattern}` matches no file" if glob.has_magic(pattern) else f"`path: {pattern}` does not exist",
            where=Where(full),
            fix="paths are relative to the recipe's folder; check the spelling, or give an absolute path",
        )
    return files


def format_of(path: Path, stated: str = "auto") -> str:
    """Format of a file by its extension (compression suffix ignored), unless stated. Raises `InputError` if unknown."""
    if stated != "auto":
        return stated
    suffix = format_suffix(path)
    if suffix not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise InputError(
            f"`{path.name}` has an extension we do not read; known: {known}, and .gz, .xz, .zst on top",
            where=Where(path),
            fix="set `format:` on the source",
        )
    return FORMATS[suffix]


def open_bytes(path: Path, file: IO[bytes] | None = None) -> IO[bytes]:
    """Open a file for reading, decompressing by its last suffix; `file` are its bytes where it lies elsewhere."""
    match path.suffix.lower():
        case ".gz":
            return cast("IO[bytes]", gzip.open(file or path, "rb"))
        case ".xz":
            return cast("IO[bytes]", lzma.open(file or path, "rb"))
        case ".zst":
            return _unpacked(file or open(path, "rb"))
    return file or open(path, "rb")


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=True)
    return cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", reader), buffer_size=1 << 20))


def format_suffix(path: Path) -> str:
    """The extension that tells a file's format, whatever it is compressed with."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in COMPRESSED else last


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
