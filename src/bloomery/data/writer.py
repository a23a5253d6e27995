"""Writes a token store: arrays appended document by document, and the count of everything that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.data.render import Rendered

ARRAYS = {"offsets": "<i8", "bytes": "<i8", "records": "<i8", "digests": "<u8", "names": "<i8"}
"""Per-document arrays: first token, UTF-8 bytes of text, row number in the source, hash of the text, end of its id."""


@dataclass(slots=True)
class Stats:
    """What became of a source's rows. `masked` counts tokens that are read but not trained."""

    read: int = 0
    kept: int = 0
    tokens: int = 0
    trained: int = 0
    text_bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def masked(self) -> int:
        """Tokens without weight: prompts, first tokens."""
        return self.tokens - self.trained

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, `masked` included; the form in manifests and receipts."""
        counts = {key: getattr(self, key) for key in ("read", "kept", "tokens", "trained", "masked", "text_bytes")}
        return counts | {"dropped": dict(self.dropped)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Stats:
        """The inverse of `to_json`."""
        counts = {key: value[key] for key in ("read", "kept", "tokens", "trained", "text_bytes")}
        return cls(**counts, dropped=Counter(value["dropped"]))


@dataclass(frozen=True, slots=True)
class Document:
    """A rendered row on its way into the store. `record` is its number in the source, from 0."""

    rendered: Rendered
    example_id: str
    record: int
    digest: int


class StoreWriter:
    """Appends documents to the arrays of a store under construction; memory use does not grow with the source."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.stats = Stats()
        self.dtype = np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")
        names = ["ids", "trained", "example_ids", *ARRAYS]
        self._files = {name: open(folder / f"{name}.bin", "wb") for name in names}  # noqa: SIM115 - closed in `close`
        self._names = 0

    def add(self, documents: Iterable[Document]) -> None:
        """Append documents in order."""
        for document in documents:
            ids, trained = document.rendered.ids, document.rendered.trained
            name = document.example_id.encode("utf-8", "replace")
            self._names += len(name)
            self._files["ids"].write(ids.astype(self.dtype).tobytes())
            self._files["trained"].write(np.packbits(trained).tobytes())
            self._files["example_ids"].write(name)
            values = (self.stats.tokens, document.rendered.text_bytes, document.record, document.digest, self._names)
            for (array, dtype), value in zip(ARRAYS.items(), values, strict=True):
                self._files[array].write(np.array(value, dtype).tobytes())
            self.stats.kept += 1
            self.stats.tokens += len(ids)
            self.stats.trained += int(np.count_nonzero(trained))
            self.stats.text_bytes += document.rendered.text_bytes

    def close(self) -> None:
        """Flush and close every array."""
        for file in self._files.values():
            file.close()
