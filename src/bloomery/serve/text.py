"""From tokens to text as they come: never half a character, and never a part of what ends the answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

BROKEN = "�"
"""What tokenizers show for bytes that are no whole character yet."""
FORGET_AFTER = 8
"""Tokens of context that decoding a token may depend on: a leading space, a character of up to four bytes."""


class Decoding:
    """The text of one answer, token by token: the pieces joined are what decoding all at once gives."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._told = 0  # ids whose text has been given out
        self._began = 0  # ids before this one are no longer decoded

    def add(self, token: int) -> str:
        """The text that `token` completes; empty while a character is not whole."""
        self._ids.append(token)
        text = self._new()
        if text.endswith(BROKEN):
            return ""
        return self._tell(text)

    def finish(self) -> str:
        """The rest, broken characters included."""
        return self._tell(self._new())

    def _new(self) -> str:
        before, now = self._text(self._ids[self._began : self._told]), self._text(self._ids[self._began :])
        return now[len(before) :]

    def _tell(self, text: str) -> str:
        self._told = len(self._ids)
        if self._told - self._began > 2 * FORGET_AFTER:
            # Only where the kept ids decode alike on their own: a tokenizer that strips a leading space would not.
            kept = self._told - FORGET_AFTER
            if self._text(self._ids[self._began :]).endswith(self._text(self._ids[kept:])):
                self._began = kept
        return text

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


class Stops:
    """Finds the first of several strings in a text that comes in pieces, and holds back what may become one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [string for string in strings if string]
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """(text that can be given out, whether a string was found: then nothing follows)."""
        if not self._strings:
            return text, False
        self._held += text
        found = [at for at in map(self._held.find, self._strings) if at >= 0]
        if found:
            released, self._held = self._held[: min(found)], ""
            return released, True
        keep = max(_overlap(self._held, string) for string in self._strings)
        released, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return released, False

    def finish(self) -> str:
        """What was held back, when the answer ends without one."""
        released, self._held = self._held, ""
        return released


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of `text` that `string` begins with, not all of it."""
    most = min(len(text), len(string) - 1)
    return next((size for size in range(most, 0, -1) if text.endswith(string[:size])), 0)


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """The bytes that a token stands for: exact for byte-level vocabularies, else those of its text."""
    piece = tokenizer.convert_ids_to_tokens(token)
    table = _byte_level()
    if piece and "ByteLevel" in repr(getattr(tokenizer.backend_tokenizer, "decoder", "")):
        if all(character in table for character in piece):
            return bytes(table[character] for character in piece)
        return str(piece).encode()
    text: str = tokenizer.decode([token])
    return text.encode()


@lru_cache(maxsize=1)
def _byte_level() -> dict[str, int]:
    """Character to byte of byte-level BPE (GPT-2): printable bytes stand for themselves, others for 256 and up."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in plain}
    others = [byte for byte in range(256) if byte not in set(plain)]
    return table | {chr(256 + number): byte for number, byte in enumerate(others)}
