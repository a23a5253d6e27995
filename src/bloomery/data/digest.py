"""A hash of what an example says, so that equal rows are found wherever they come from."""

from __future__ import annotations

import hashlib

from bloomery.data.shapes import Example
from bloomery.data.turns import plain


def digest(example: Example) -> int:
    """64-bit hash of an example's words: case and white space do not count, who spoke does.

    Two different rows share it by accident once in about 2**64 / rows**2 sources.
    """
    if example.text is not None:
        parts = [example.text]
    else:
        parts = [f"{message['role']}\n{plain(message['content'])}" for message in example.spoken]
        if example.rejected:
            parts.insert(len(example.messages), "rejected")
    words = "\x00".join(" ".join(part.casefold().split()) for part in parts)
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).digest(), "little")
