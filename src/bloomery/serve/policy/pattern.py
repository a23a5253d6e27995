"""Regular expressions over a text that is still growing.

A match is decided from a stretch of text whose place is fixed: starts in [b k, b k + b) are looked for in the text up
to b k + b + `longest`, where b is `longest`, or 64 if that is more. So what is found never depends on how the text
arrived. Partial matching tells, after every piece, before which place nothing can begin any more: everything before it
may be released at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import regex  # type: ignore[import-untyped]  # re with partial matches and a time limit

from bloomery.core.errors import InputError
from bloomery.serve.policy.fold import Text

SECONDS = 0.25
"""What one search may take; a pattern with nested repeats can run for years on forty characters."""
BLOCK = 64
"""Fewest starts that are decided together."""
LONGEST = 256


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, in characters; `end` is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression with what else must hold of its matches. Raises `InputError` for one that cannot be used."""

    source: str
    longest: int = LONGEST
    """Most characters of a match, with what it looks at behind it. Of longer ones the rest is not seen."""
    ignore_case: bool = False
    folded: bool = False
    """Match the folded text."""
    holds: Callable[[str], bool] | None = None
    """What else must hold of the matched text, such as a check digit."""
    whole: Any = field(init=False, repr=False, compare=False)
    pending: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        flags = regex.IGNORECASE if self.ignore_case else 0
        try:
            whole = regex.compile(self.source, flags)
            # Whatever the pattern matches so far, in full too, is a part of this one: its leftmost partial match is the
            # first place where a match may begin. `search(partial=True)` of the pattern itself prefers full matches.
            pending = regex.compile(rf"(?:{self.source})(?s:.*+.)", flags)
        except regex.error as error:
            raise InputError(
                f"`regex: {self.source:.60}` is no regular expression: {error}", fix="correct it"
            ) from None
        if whole.search("", timeout=SECONDS) is not None:
            raise InputError(f"`regex: {self.source:.60}` matches an empty text", fix="make a part of it required")
        object.__setattr__(self, "whole", whole)
        object.__setattr__(self, "pending", pending)

    def spans(self, text: str) -> list[Span]:
        """All matches in a text that is complete. Raises TimeoutError."""
        grown = Text()
        grown.grow(text)
        return Scan(self, grown).advance(final=True)


class Scan:
    """The search for one pattern in one growing text."""

    def __init__(self, pattern: Pattern, text: Text) -> None:
        self.pattern, self.text = pattern, text
        self.settled = 0  # starts before it are decided
        self.behind = 0  # end of the last match
        self.open = 0  # no match that is not reported begins before it

    @property
    def block(self) -> int:
        """Starts that are decided together: as many as a match is long, so that no text is searched more than twice."""
        return max(BLOCK, self.pattern.longest)

    @property
    def clear(self) -> int:
        """Place in the raw text before which every match that begins is known."""
        return self.text.start_of(self.open) if self.pattern.folded else self.open

    def advance(self, final: bool) -> list[Span]:
        """Matches decided since the last call, in raw places. Raises TimeoutError when one search takes too long."""
        view = self.text.folded if self.pattern.folded else self.text.raw
        found: list[Span] = []
        while self.settled + self.block + self.pattern.longest <= len(view) or (final and self.settled < len(view)):
            stop = self.settled + self.block
            self._settle(view, stop, min(stop + self.pattern.longest, len(view)), found)
            self.settled = stop
        self.open = len(view) if final else self._opening(view)
        return found

    def _settle(self, view: str, stop: int, edge: int, found: list[Span]) -> None:
        place = max(self.settled, self.behind)
        while place < stop:
            match = self.pattern.whole.search(view, place, edge, timeout=SECONDS)
            if match is None or match.start() >= stop:
                return
            start, end = match.span()
            if end > start and (self.pattern.holds is None or self.pattern.holds(match.group())):
                found.append(self._raw(start, end))
                self.behind = place = end
            else:
                place = start + 1

    def _opening(self, view: str) -> int:
        """The first place where a match may begin that is not decided yet."""
        place = max(self.open, self.settled, self.behind)
        if place >= len(view):
            return max(self.open, min(place, len(view)))
        begun = self.pattern.pending.search(view, place, partial=True, timeout=SECONDS)
        # An assertion such as \B can fail at the end of the text and hold a character later: look one back, too.
        earlier = self.pattern.pending.search(view, place, len(view) - 1, partial=True, timeout=SECONDS)
        starts = [match.start() for match in (begun,) if match is not None]
        starts += [match.start() for match in (earlier,) if match is not None and match.start() < len(view) - 1]
        return int(min([*starts, len(view)]))

    def _raw(self, start: int, end: int) -> Span:
        if not self.pattern.folded:
            return Span(start, end)
        return Span(self.text.start_of(start), self.text.end_of(end))
