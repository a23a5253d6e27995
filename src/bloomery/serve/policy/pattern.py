"""Regular expressions over a text that is still growing.

A match is decided from a stretch of text whose place is fixed: starts in [b k, b k + b) are looked for in the text up
to b k + b + `longest`, where b is `longest`, or 64 if that is more. So what is found never depends on how the text
arrived. Partial matching tells, after every piece, before which place nothing can begin any more: everything before it
may be released at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import regex  # type: ignore[import-untyped]  # re with partial matches and a time limit

from bloomery.core.errors import InputError
from bloomery.serve.policy.fold import Text

SECONDS = 0.25
"""What one search may take; a pattern with nested repeats can run for years on forty characters."""
BLOCK = 64
"""Fewest starts that are decided together."""
LONGEST = 256


AT = "_at"
"""The group of a pattern from whose beginning on a match is held back; without it, all of the match is."""
_LAZY_BEHIND = regex.compile(r"(?<!\\)[}*+?]\?.*?\(\?<[=!]", regex.DOTALL)
_AT_END = regex.compile(r"\\[bBmMXGzZ]|\$|\(\?!.*\(\?!", regex.DOTALL)
"""What may fail at the end of a text and hold a character later."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, in characters; `end` is exclusive. Text may be released up to `at`, by default its start."""

    start: int
    end: int
    at: int | None = None

    @property
    def acts(self) -> int:
        """The place where something becomes of it."""
        return self.start if self.at is None else self.at


@dataclass(frozen=True, slots=True)
class After:
    """What must stand before a place: `source` right before it, and for that `sign` not far away, which is rarer."""

    source: str
    sign: str
    longest: int
    """Most characters of a sign."""


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
    begins: str = ""
    """What may become a match is looked for by this expression, where it is another one."""
    after: After | None = None
    """Such a place counts only where this stands before it."""
    known: bool = False
    """It is ours, and known to take no time worth watching: what may begin is looked for without a limit."""
    even: bool | None = None
    """Whether what does not begin at the end of a text does not begin there once it has grown; None: find out."""
    needed: tuple[re.Pattern[str], ...] = ()
    """What every match holds, each somewhere in it: `re` is ten times as fast at finding that there is none."""
    whole: Any = field(init=False, repr=False, compare=False)
    pending: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            whole = regex.compile(self.source, regex.IGNORECASE if self.ignore_case else 0)
            object.__setattr__(self, "pending", pending([self]))
        except regex.error as error:
            raise InputError(
                f"`regex: {self.source:.60}` is no regular expression: {error}", fix="correct it"
            ) from None
        if whole.search("", timeout=SECONDS) is not None:
            raise InputError(f"`regex: {self.source:.60}` matches an empty text", fix="make a part of it required")
        if not self.begins and _LAZY_BEHIND.search(self.source):
            said = "has a lazy repeat before a look behind, which cannot be followed while a text grows"
            raise InputError(f"`regex: {self.source:.60}` {said}", fix="make the repeat greedy (`+` for `+?`)")
        object.__setattr__(self, "whole", whole)
        if self.even is None:
            object.__setattr__(self, "even", _AT_END.search(self.begins or self.source) is None)

    def spans(self, text: str) -> list[Span]:
        """All matches in a text that is complete. Raises TimeoutError."""
        grown = Text()
        grown.grow(text)
        return Scan(self, grown).settle(final=True)


def pending(patterns: Sequence[Pattern]) -> Any:
    """One expression whose leftmost partial match is the first place where a match of any of them may begin.

    Whatever a pattern matches so far, in full too, is a part of it: `search(partial=True)` of the pattern itself
    prefers full matches. Raises `regex.error` where their groups cannot stand beside each other.
    """
    ways = (f"(?i:{p.begins or p.source})" if p.ignore_case else p.begins or p.source for p in patterns)
    return _compiled(f"(?|{'|'.join(f'(?:{way})' for way in ways)})(?s:.*+.)")


@lru_cache(maxsize=256)
def _compiled(source: str) -> Any:
    return regex.compile(source)


class Scan:
    """The search for one pattern in one growing text."""

    def __init__(self, pattern: Pattern, text: Text) -> None:
        self.pattern, self.text = pattern, text
        self.settled = 0  # starts before it are decided
        self.behind = 0  # end of the last match
        self.block = max(BLOCK, pattern.longest)  # starts decided together, so that no text is searched more than twice
        self.due = self.block + pattern.longest  # length of the text from which the next ones can be decided
        self.late = False  # a search took too long: it is given up
        self.front: Front | None = None

    @property
    def decided(self) -> int:
        """No match that is not reported begins before it."""
        return max(self.settled, self.behind)

    @property
    def place(self) -> int:
        """The same in the raw text."""
        return self.text.start_of(self.decided) if self.pattern.folded else self.decided

    def settle(self, final: bool) -> list[Span]:
        """Matches decided since the last call, in raw places. Raises TimeoutError when one search takes too long."""
        view = self.text.folded if self.pattern.folded else self.text.raw
        found: list[Span] = []
        while self.due <= len(view) or (final and self.settled < len(view)):
            stop = self.settled + self.block
            self._settle(view, stop, min(stop + self.pattern.longest, len(view)), found)
            self.settled, self.due = stop, self.due + self.block
            if self.front is not None:
                self.front.moved = True
        return found

    def give_up(self) -> None:
        """Look no further."""
        self.late = True
        if self.front is not None:
            self.front.moved = True

    def _settle(self, view: str, stop: int, edge: int, found: list[Span]) -> None:
        place = self.decided
        if not all(one.search(view, place, edge) for one in self.pattern.needed):
            return
        while place < stop:
            match = self.pattern.whole.search(view, place, edge, timeout=SECONDS)
            if match is None or match.start() >= stop:
                return
            start, end = match.span()
            if end > start and (self.pattern.holds is None or self.pattern.holds(match.group())):
                at = match.start(AT) if AT in self.pattern.whole.groupindex else start
                found.append(self._raw(start, end, at))
                self.behind = place = end
            else:
                place = start + 1

    def _raw(self, start: int, end: int, at: int) -> Span:
        if self.pattern.folded:
            start, end, at = self.text.start_of(start), self.text.end_of(end), self.text.start_of(at)
        return Span(start, end, at if at > start else None)


class Front:
    """The first place in a growing text where a match of any of some patterns may begin that is not decided yet."""

    def __init__(self, scans: Sequence[Scan]) -> None:
        self.scans = list(scans)
        self.text, self.folded = scans[0].text, scans[0].pattern.folded
        for scan in scans:
            scan.front = self
        self.open = 0
        self.moved = True  # what is decided is more than it was
        self._least = self._most = 0
        self._pending = pending([scan.pattern for scan in scans])
        self._even = all(scan.pattern.even for scan in scans)
        self._seconds = None if all(scan.pattern.known for scan in scans) else SECONDS
        self._before = _Before(scans[0].pattern) if scans[0].pattern.after else None

    @property
    def clear(self) -> int:
        """Place in the raw text before which every match that begins is known."""
        return self.text.start_of(self.open) if self.folded else self.open

    def advance(self, final: bool) -> list[Scan]:
        """Look at what the text has grown by; returns scans whose search took too long, which are given up."""
        view = self.text.folded if self.folded else self.text.raw
        if self.moved:
            self._look_at_scans()
        if final or not self.scans:
            self.open = len(view)
            return []
        if self._pending is not None and self._together(view):
            return []
        self.open = max(self.open, min(self._alone(scan, view) for scan in self.scans))
        return [scan for scan in self.scans if scan.late]

    def _look_at_scans(self) -> None:
        if any(scan.late for scan in self.scans):
            self.scans, self._pending = [scan for scan in self.scans if not scan.late], None
        decided = [scan.decided for scan in self.scans] or [0]
        self._least, self._most, self.moved = min(decided), max(decided), False

    def _together(self, view: str) -> bool:
        """Look for all at once; not enough where one of them is beyond the place already, or it takes too long."""
        try:
            found = self._opening(self._pending, view, max(self.open, self._least))
        except TimeoutError:
            return False
        if self._most > found:
            return False
        self.open = found
        return True

    def _alone(self, scan: Scan, view: str) -> int:
        try:
            return self._opening(scan.pattern.pending, view, max(self.open, scan.decided))
        except TimeoutError:
            scan.give_up()
            return len(view)

    def _opening(self, expression: Any, view: str, place: int) -> int:
        while place < len(view):
            place = self._begins(expression, view, place)
            if self._before is None or place >= len(view) or self._before.stands(view, place):
                break
            place += 1
        return place

    def _begins(self, expression: Any, view: str, place: int) -> int:
        end = len(view)
        begun = expression.search(view, place, partial=True, timeout=self._seconds)
        found = int(begun.start()) if begun is not None else end
        if not self._even:  # an assertion such as \B can fail at the end and hold a character later: look one back, too
            begun = expression.search(view, place, end - 1, partial=True, timeout=self._seconds)
            found = min(found, begun.start()) if begun is not None and begun.start() < end - 1 else found
        return found


class _Before:
    """Whether what must stand before a place does, in one growing view; asked for rising places."""

    def __init__(self, pattern: Pattern) -> None:
        assert pattern.after is not None
        self._after, self._reach = pattern.after, pattern.longest
        self._behind, self._sign = _compiled(f"(?<={self._after.source})"), _compiled(self._after.sign)
        self._looked, self._last = 0, -self._reach

    def stands(self, view: str, place: int) -> bool:
        for sign in self._sign.finditer(view, max(0, self._looked - self._after.longest), place):
            self._last = sign.end()
        self._looked = max(self._looked, place)
        near = place - self._last < self._reach
        return near and self._behind.match(view, place, timeout=SECONDS) is not None


def fronts(scans: Iterable[Scan]) -> list[Front]:
    """As few as can be for scans of one text; patterns whose groups cannot stand together have their own."""
    kinds: dict[Any, list[Scan]] = {}
    for scan in scans:
        kinds.setdefault((scan.pattern.folded, scan.pattern.even, scan.pattern.known, scan.pattern.after), []).append(
            scan
        )
    found: list[Front] = []
    for together in kinds.values():
        try:
            found.append(Front(together))
        except regex.error:
            found += [Front([scan]) for scan in together]
    return found
