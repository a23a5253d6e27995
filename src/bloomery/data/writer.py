"""Writes a token store: arrays appended block by block, and the count of everything that was read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.data.block import PER_DOCUMENT, Block


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # token ids are the user's rows, spelt otherwise


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


class StoreWriter:
    """Appends blocks to the arrays of a store under construction; memory use does not grow with the source."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.stats = Stats()
        self.dtype = np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")
        names = ["ids", "trained", "names", *PER_DOCUMENT]
        self._files = {name: open(folder / f"{name}.bin", "wb", opener=_private) for name in names}  # noqa: SIM115 - see `close`

    def add(self, block: Block) -> None:
        """Append the documents of a block, and count them and the rows it skipped."""
        self._files["ids"].write(block.ids.astype(self.dtype).tobytes())
        self._files["trained"].write(block.bits)
        self._files["names"].write(block.names)
        for name, values in block.about.items():
            self._files[name].write(values.tobytes())
        self.stats.read += block.documents + len(block.reasons)
        self.stats.kept += block.documents
        self.stats.tokens += len(block.ids)
        self.stats.trained += block.trained
        self.stats.text_bytes += int(block.about["text_bytes"].sum())
        self.stats.dropped.update(block.reasons)

    def close(self) -> None:
        """Flush and close every array."""
        for file in self._files.values():
            file.close()
