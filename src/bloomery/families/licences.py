"""What the licence of a source permits, and whether that suits what a model is for.

A table of what licences say about use, read for a first check and no advice of a lawyer's. A licence that is not in the
table is not guessed: it is named, so that somebody reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Use = Literal["commercial", "research", "internal"]
USES: tuple[Use, ...] = ("commercial", "research", "internal")
"""What a model is for: sold or served to others; study and teaching; a firm's own work, which earns money too."""

ANY: frozenset[Use] = frozenset(USES)
STUDY: frozenset[Use] = frozenset({"research"})

NOTES = {
    "attribution": "name the source beside the model",
    "share-alike": "what is made of it may have to carry the same licence",
    "mixed": "parts have licences of their own: read them",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """The uses a licence permits, and what else it asks for (a key of `NOTES`)."""

    uses: frozenset[Use]
    note: str | None = None


TERMS: dict[str, Terms] = {
    r"(.+, )?parts? (are )?(non-commercial|cc-by-nc.*)": Terms(STUDY, "mixed"),
    r"apache( |-)?2(\.0)?|mit|bsd.*|isc|unlicense|wtfpl": Terms(ANY),
    r"cc0.*|public domain|pddl.*": Terms(ANY),
    r"odc-by.*|cdla-permissive.*": Terms(ANY, "attribution"),
    r"cc-by-\d.*|cc-by": Terms(ANY, "attribution"),
    r"cc-by-sa.*|odbl.*|gfdl.*": Terms(ANY, "share-alike"),
    r"cc-by-nd.*": Terms(ANY, "attribution"),
    r"cc-by-nc.*": Terms(STUDY, "attribution"),
    r"(non-commercial|research[- ]only|for research).*": Terms(STUDY),
    r"each .+'s own": Terms(ANY, "mixed"),
    r"nvidia (nemotron )?open (model|data).*": Terms(ANY, "attribution"),
    r"own|internal|proprietary": Terms(ANY),
}
"""Licence, as a pattern over its name in small letters -> terms; the first that matches the whole name counts.

Read off the licences: Creative Commons NC forbids "commercial advantage or monetary compensation" (CC BY-NC 4.0, 1(i)),
which a firm's own work seeks as well. Where some parts are non-commercial and nobody separates them, all of it is.
"""


def terms(licence: str | None) -> Terms | None:
    """What a licence permits; None for one that is not stated or not known."""
    name = " ".join((licence or "").lower().split())
    return next((found for pattern, found in TERMS.items() if re.fullmatch(pattern, name)), None)


def forbids(licence: str | None, use: Use) -> bool:
    """Whether a known licence does not permit `use`."""
    found = terms(licence)
    return found is not None and use not in found.uses
