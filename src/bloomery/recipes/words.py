"""Training a tokenizer on the text of any source a recipe can name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.sources import iter_records
from bloomery.data.tokenizer import save_tokenizer, train_tokenizer


def make_tokenizer(data: Sequence[str], folder: Path, vocabulary: int, context: int) -> Path:
    """Train byte-level BPE on every string of `data` (files, folders, globs) and write it to `folder`.

    Raises `InputError` when the folder exists, a file cannot be read, or the text is too little for `vocabulary`.
    """
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    tokenizer = train_tokenizer(_texts(data), vocabulary)
    folder.mkdir(parents=True)
    save_tokenizer(tokenizer, folder, context)
    return folder


def _texts(data: Sequence[str]) -> Iterator[str]:
    for path in data:
        for record in iter_records(SourceSpec(path=path), Path.cwd()):
            yield from strings(record.fields)


def strings(value: Any) -> Iterator[str]:
    """Every string inside a row that a model would read, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key in value:
            if key not in UNREAD:
                yield from strings(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


UNREAD = frozenset(("id", "metadata", "skill", "reference_answer"))
"""Columns that no shape renders."""
