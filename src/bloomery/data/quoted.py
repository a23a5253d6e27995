"""Special tokens quoted in messages stay text: broken before the template sees them, mended while they are encoded.

Text and template arrive at the tokenizer as one string, in which `<|im_end|>` ends the turn whoever wrote it. So a
noncharacter goes into every special token that a message quotes. The tokenizer then finds the template's own tokens
only, and its normaliser takes the noncharacter out before anything is split or merged. Rows that quote nothing, nearly
all, are encoded without any of this.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any, TypeVar

from tokenizers import Encoding, Tokenizer

from bloomery.core.errors import InputError, Where

BREAK = "\ufdd2"
"""A Unicode noncharacter, never part of real text."""

Json = TypeVar("Json")


class Quotes:
    """Breaks and mends the special tokens of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
        longest = sorted(self._special, key=len, reverse=True)
        self._find = re.compile("|".join(map(re.escape, longest))) if longest else None

    def broken(self, value: Json) -> Json:
        """A string, or JSON of strings, with `BREAK` inside every special token."""
        found: Any = value
        if isinstance(value, str):
            found = self._find.sub(lambda token: token[0][:1] + BREAK + token[0][1:], value) if self._find else value
        elif isinstance(value, dict):
            found = {key: self.broken(inner) for key, inner in value.items()}
        elif isinstance(value, list | tuple):
            found = [self.broken(inner) for inner in value]
        return found  # type: ignore[no-any-return]

    def encode(self, text: str, where: Where | None = None) -> Encoding:
        """Tokens of a text with broken ones in it; offsets are those of `text`.

        Raises `InputError` where the tokenizer's model itself has the special token as a piece of text.
        """
        encoding: Encoding = self._mending.encode(text, add_special_tokens=False)
        for token, index in self._special.items():
            if f"{token[:1]}{BREAK}{token[1:]}" in text and encoding.ids.count(index) != text.count(token):
                raise InputError(
                    f"quotes `{token}`, which this tokenizer cannot read as text",
                    where=where,
                    fix="remove it from the row, or set `bad_rows: skip` on the source",
                )
        return encoding

    @cached_property
    def _mending(self) -> Tokenizer:
        """The tokenizer with a normaliser that removes `BREAK`; special tokens are looked for before it does."""
        told = json.loads(self._tokenizer.to_str())
        for token in told["added_tokens"]:
            token["normalized"] = token["normalized"] and not token["special"]
        mend = {"type": "Replace", "pattern": {"String": BREAK}, "content": ""}
        steps = [mend, told["normalizer"]] if told["normalizer"] else [mend]
        return Tokenizer.from_str(json.dumps(told | {"normalizer": {"type": "Sequence", "normalizers": steps}}))
