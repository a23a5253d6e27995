"""Translates a tokenizer's splitting pattern (Oniguruma) into one that Python's `re` matches alike.

Python has no `\\p{L}`, and its `\\s` differs in a few characters; so each class is spelt out as ranges,
asked from the tokenizer library itself. What cannot be translated with certainty gives None.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tokenizers import Regex, pre_tokenizers

SCOPE = ((0, 0xD800), (0xE000, 0x10000), (0x1F000, 0x1FC00))
"""Code points whose classes we ask for: the basic plane and emoji. Asking for all takes five seconds."""

OUT_OF_SCOPE = re.compile("[^" + "".join(rf"\U{a:08x}-\U{b - 1:08x}" for a, b in SCOPE) + "]|[\u017f\u212a]")
"""Finds a character we know nothing about, or one that only case folding makes equal to an ASCII letter."""

_TOKEN = re.compile(
    r"\\[pP]\{(?P<name>\^?\w+)\}|\\(?P<space>[sS])|\\(?P<escape>[rnt'\"/\-\[\](){}.|*+?\\^$])|(?P<other>\\.)"
    r"|(?P<group>\(\?(?::|=|!|<=|<!|i:))|(?P<brace>\{\d*,?\d*\}\+?)|(?P<char>.)",
    re.DOTALL,
)


def translate(pattern: str) -> re.Pattern[str] | None:
    """A compiled Python pattern that splits text within `SCOPE` as `pattern` does, or None."""
    pieces: list[str] = []
    inside = False
    for match in _TOKEN.finditer(pattern):
        piece = _translated(match, inside, pattern)
        if piece is None:
            return None
        inside = (inside or match["char"] == "[") and match["char"] != "]"
        pieces.append(piece)
    try:
        compiled = re.compile("".join(pieces))
    except re.error:
        return None
    return compiled if compiled.groups == 0 else None


def _translated(match: re.Match[str], inside: bool, pattern: str) -> str | None:
    whole = match.group()
    if match["name"] or match["space"]:
        return _class(whole, inside)
    if match["brace"]:
        # `{1,3}+` repeats a repetition in Oniguruma and is possessive in Python.
        return whole if not whole.endswith("+") and not inside else None
    if match["escape"] or match["group"]:
        return whole if not (inside and match["group"]) else None
    character = match["char"]
    if character is None or (character in ".$^" and not inside and character != "^"):
        return None
    if inside and (character == "[" or (character == "&" and "&&" in pattern)):
        return None
    if not inside and (character == "^" or (character == "(" and match.start() + 1 >= len(pattern))):
        return None
    return r"\#" if character == "#" else character


def _class(escape: str, inside: bool) -> str | None:
    negated = escape[1] in "PS" or "{^" in escape
    if inside and negated:
        return None
    positive = r"\s" if escape[1] in "sS" else rf"\p{{{escape[3:-1].lstrip('^')}}}"
    ranges = _members(positive)
    if ranges is None:
        return None
    return ranges if inside else f"[{'^' if negated else ''}{ranges}]"


@lru_cache(maxsize=32)
def _members(atom: str) -> str | None:
    """The characters of `SCOPE` that `atom` matches, as the inside of a Python character class."""
    try:
        split = pre_tokenizers.Split(Regex(f"{atom}+"), "removed")
    except Exception:  # the library raises bare Exception for a pattern it does not know
        return None
    parts = []
    for first, end in SCOPE:
        place = first
        text = "".join(map(chr, range(first, end)))
        gaps = [(first + start, first + stop) for _, (start, stop) in split.pre_tokenize_str(text)]
        for start, stop in [*gaps, (end, end)]:
            if start > place:
                parts.append(rf"\U{place:08x}-\U{start - 1:08x}")
            place = stop
    return "".join(parts) or None
