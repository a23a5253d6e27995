"""A batch of rendered documents as a few arrays: what is written to a store and what workers send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.data.render import Rendered

PER_DOCUMENT = {
    "lengths": "<i8", "desired": "<i8", "text_bytes": "<i8", "records": "<i8", "digests": "<u8", "prompts": "<u8",
    "groups": "<u8", "name_sizes": "<i8",
}  # fmt: skip
"""Arrays with one value a document: its tokens, how many of them come before a rejected row, UTF-8 bytes of text,
row number in the source, hash, hash of its prompt (0: none), hash of its group (0: none), bytes of its id."""


@dataclass(frozen=True, slots=True)
class Block:
    """`ids` int32 tokens, `bits` trained masks packed document by document, `names` UTF-8 ids.

    `about` holds the `PER_DOCUMENT` arrays. `trained` counts trained tokens, `reasons` why rows were skipped.
    """

    ids: npt.NDArray[np.int32]
    bits: bytes
    names: bytes
    about: dict[str, npt.NDArray[Any]]
    trained: int
    reasons: list[str] = field(default_factory=list)

    @property
    def documents(self) -> int:
        """How many documents the block holds."""
        return len(self.about["lengths"])


def block(
    rendered: Sequence[Rendered],
    names: Sequence[str],
    records: Sequence[int],
    digests: Sequence[int],
    prompts: Sequence[int],
    groups: Sequence[int],
    reasons: list[str],
) -> Block:
    """Put documents together; the arguments run in parallel, one entry a document."""
    encoded = [name.encode("utf-8", "replace") for name in names]
    columns: dict[str, list[int]] = {
        "lengths": [len(one.ids) for one in rendered],
        "desired": [one.desired for one in rendered],
        "text_bytes": [one.text_bytes for one in rendered],
        "records": list(records),
        "digests": list(digests),
        "prompts": list(prompts),
        "groups": list(groups),
        "name_sizes": [len(name) for name in encoded],
    }
    return Block(
        ids=np.concatenate([one.ids for one in rendered]) if rendered else np.empty(0, np.int32),
        bits=b"".join([np.packbits(one.trained).tobytes() for one in rendered]),
        names=b"".join(encoded),
        about={name: np.array(values, PER_DOCUMENT[name]) for name, values in columns.items()},
        trained=sum(int(np.count_nonzero(one.trained)) for one in rendered),
        reasons=reasons,
    )
