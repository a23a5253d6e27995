"""What a report says of the data: each source's category, part and licence, what it shares with evaluation rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMES = ("Source", "Category", "Share", "Tokens", "Epochs", "Licence", "Evaluation documents touched")


@dataclass(frozen=True, slots=True)
class Blended:
    """Rows under `NAMES`, and what is to be said of the blend as a whole."""

    rows: tuple[tuple[str, ...], ...]
    said: tuple[str, ...]

    @classmethod
    def of(cls, receipt: Mapping[str, Any]) -> Blended | None:
        """From a data receipt; None for one without categories."""
        if "categories" not in receipt:
            return None
        sources: Mapping[str, Mapping[str, Any]] = receipt["sources"]
        rows = tuple(_row(name, one) for name, one in sources.items())
        note = receipt["curated"].get("note")
        said = [note[0].upper() + note[1:] + "."] if note else []
        return cls(rows, (*said, _touched(sources)))


def _row(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    taken = one.get("taken", {})
    touched = [f"{set_} {found['touched']:,}" for set_, found in one["contamination"].items() if found["touched"]]
    return (
        name,
        one["category"] if one["role"] == "curated" else "domain",
        f"{taken.get('share', 0):.1%}",
        f"{taken.get('tokens', 0):,}",
        f"{taken.get('epochs', 0):.2f}",
        one["licence"] or "not stated",
        ", ".join(touched) or "none",
    )


def _touched(sources: Mapping[str, Mapping[str, Any]]) -> str:
    found = [of for one in sources.values() for of in one["contamination"].values()]
    covered, most = sum(of["covered"] for of in found), max((of["share"] for of in found), default=0.0)
    return (
        f"A document is touched where it shares 13 tokens in a row with what a source holds: at most {most:.1%} of an "
        f"evaluation set by one source; {covered:,} documents are covered to half by such passages."
    )
