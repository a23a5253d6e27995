"""A hash of what an example says, so that equal rows are found wherever they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import takewhile

from bloomery.data.shapes import Example
from bloomery.data.turns import Message, plain


def digest(example: Example) -> int:
    """64-bit hash of an example's words: case and white space do not count, who spoke does.

    Two different rows share it by accident once in about 2**64 / rows**2 sources.
    """
    if example.text is not None:
        return _hashed([example.text])
    parts = _said(example.spoken)
    if example.rejected:
        parts.insert(len(example.messages), "rejected")
    return _hashed(parts)


def asked(example: Example) -> int:
    """64-bit hash of what comes before the first answer, but system messages; 0 where nothing is asked, as in text.

    An evaluation whose answers are generated is given away by its question alone, whatever was answered.
    """
    before = list(takewhile(lambda message: message["role"] != "assistant", example.spoken))
    parts = _said([message for message in before if message["role"] != "system"])
    return _hashed(parts) if parts else 0


def grouped(example: Example) -> int:
    """64-bit hash of the name of an example's group; 0 where it has none."""
    return _hashed([example.group]) or 1 if example.group else 0


def _said(messages: Sequence[Message]) -> list[str]:
    return [f"{message['role']}\n{plain(message['content'])}" for message in messages]


def _hashed(parts: Sequence[str]) -> int:
    words = "\x00".join(" ".join(part.casefold().split()) for part in parts)
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).digest(), "little")
