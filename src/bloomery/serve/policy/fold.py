"""Text as word lists read it: lower case, compatibility forms, accents, look-alikes and invisible characters undone.

Every character is folded by itself, so a text folds the same however it is cut into pieces.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_LOOKALIKES = {
    **dict(zip("абвеѕіїјкԛмнорстԝухүһԁɡ", "abbesiijkqmhopctwyxyhdg", strict=True)),
    **dict(zip("αβγεηικνορτυχω", "abyenikvoptuxw", strict=True)),
    **dict(zip("ıøłđðħŧ", "iolddht", strict=True)),
}
"""Cyrillic, Greek and Latin letters that look like plain Latin ones (the common part of Unicode's confusables)."""
_SPACES = {"Zs": " ", "Zl": "\n", "Zp": "\n"}


@lru_cache(maxsize=1 << 14)
def fold_character(character: str) -> str:
    """A character as none or more plain ones: `É` is `e`, `ﬁ` is `fi`, Cyrillic `а` Latin `a`, zero-widths are none."""
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    if category in _SPACES:
        return _SPACES[category]
    plain = unicodedata.normalize("NFKD", character).casefold()
    marks = "".join(c for c in unicodedata.normalize("NFKD", plain) if not "\u0300" <= c <= "\u036f")
    return "".join(_LOOKALIKES.get(c, c) for c in marks)


def fold(text: str) -> str:
    """The whole text folded."""
    return "".join(map(fold_character, text))


class Text:
    """A text that grows, as it is and folded, with the way back from the folded one.

    `origin[i]` is the place in `raw` of the character that folded character i came from.
    """

    def __init__(self) -> None:
        self.raw, self.folded = "", ""
        self.origin: list[int] = []

    def grow(self, piece: str) -> None:
        """Append a piece."""
        begin = len(self.raw)
        self.raw += piece
        if piece.isascii():  # one character folds to one
            self.origin += range(begin, begin + len(piece))
            self.folded += piece.lower()
            return
        folded = [fold_character(character) for character in piece]
        for place, plain in enumerate(folded, begin):
            self.origin += [place] * len(plain)
        self.folded += "".join(folded)

    def start_of(self, place: int) -> int:
        """Where in `raw` the folded character at `place` begins; the end of `raw` for the end of `folded`."""
        return self.origin[place] if place < len(self.origin) else len(self.raw)

    def end_of(self, place: int) -> int:
        """Where in `raw` the folded characters before `place` end."""
        return self.origin[place - 1] + 1 if place else 0
