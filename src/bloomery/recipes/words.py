"""Training a tokenizer on the text of any source a recipe can name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import BloomeryError, InputError, Where
from bloomery.core.files import building_folder
from bloomery.data.config import SourceSpec
from bloomery.data.sources import iter_records
from bloomery.data.tokenizer import save_tokenizer, train_tokenizer
from bloomery.data.turns import refuse_half

PIECE = 2000
"""Characters of a piece of text: what is held out, or trained on, as a whole."""

EVERY = 50
"""One piece of so many is held out: 2 %, as of a domain's documents."""

MOST_HELD = 10_000_000
"""Characters after which no more is held out: enough for any figure, and it stays in memory."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A tokenizer folder, its size, and what a token of it holds: bytes, on `held_bytes` of text not trained on.

    A corpus of fewer than `EVERY` pieces holds nothing out; then `held_bytes` is 0 and the figure is on all of it.
    """

    folder: Path
    vocabulary: int
    bytes_per_token: float
    held_bytes: int

    def __str__(self) -> str:
        on = f"{self.held_bytes:,} bytes held out" if self.held_bytes else "the text it was trained on"
        return (
            f"wrote {self.folder}: {self.vocabulary:,} entries, {self.bytes_per_token:.2f} bytes a token on {on}; "
            "every byte of it comes back"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value."""
        figures = {"vocabulary": self.vocabulary, "bytes_per_token": self.bytes_per_token}
        return {"folder": str(self.folder), **figures, "held_out_bytes": self.held_bytes}


def make_tokenizer(
    corpus: Sequence[str], folder: Path, vocabulary: int, context: int, progress: bool = False
) -> Trained:
    """Train byte-level BPE on every string of `corpus` (files, folders, globs; any form that data may have).

    The folder appears whole or not at all; equal text gives equal files. Raises `InputError` when the folder exists, a
    file cannot be read, or the text is too little for `vocabulary`.
    """
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    held: list[str] = []
    tokenizer = train_tokenizer(_kept(corpus, held), vocabulary, progress)
    measured = held or list(_pieces(corpus))
    size, tokens = _round_trip(tokenizer, measured)
    with building_folder(folder, {"tokenizer": {"vocabulary": vocabulary, "bytes_per_token": size / tokens}}) as place:
        save_tokenizer(tokenizer, place, context)
    return Trained(folder, vocabulary, size / tokens, size if held else 0)


def _kept(corpus: Sequence[str], held: list[str]) -> Iterator[str]:
    """The pieces to train on; every fiftieth goes to `held` instead."""
    size = 0
    for number, piece in enumerate(_pieces(corpus), 1):
        if number % EVERY == 0 and size < MOST_HELD:
            held.append(piece)
            size += len(piece)
        else:
            yield piece


def _round_trip(tokenizer: Any, texts: Sequence[str]) -> tuple[int, int]:
    """Bytes and tokens of texts, each of which must come back byte for byte."""
    size = tokens = 0
    for text in texts:
        ids = tokenizer.encode(text).ids
        if tokenizer.decode(ids, skip_special_tokens=False) != text:
            raise BloomeryError(f"the tokenizer changed a text: {text[:60]!r}")
        size += len(text.encode())
        tokens += len(ids)
    return size, max(tokens, 1)


def _pieces(corpus: Sequence[str]) -> Iterator[str]:
    """Every string of the corpus, long ones cut at the ends of lines."""
    for path in corpus:
        for record in iter_records(SourceSpec(path=path), Path.cwd()):
            for text in strings(record.fields):
                yield from _cut(text, record.where)


def _cut(text: str, where: Where) -> Iterator[str]:
    refuse_half(text, where)
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1
        yield text[start : end or len(text)]
        start = end or len(text)


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
