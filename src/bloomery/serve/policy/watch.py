"""One text under a policy as it grows: what may be released, what is masked, and where it ends.

What is found is worked through by its place in the text, and only once nothing can be found before it any more. So the
released text and the decision are the same for every way of cutting the text into pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.serve.policy.category import Armed
from bloomery.serve.policy.decision import RANK, Action, Decision
from bloomery.serve.policy.fold import Text
from bloomery.serve.policy.pattern import Scan, Span, fronts
from bloomery.serve.policy.whole import Failed, Messages, Whole


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector found where; `action` is the category's, what its failure asks for, or allow for an exception.

    `words` are those of a judge, a grader or a model, which may repeat the text.
    """

    span: Span
    category: Armed
    detector: str
    action: Action
    reason: str
    words: str = ""

    @property
    def order(self) -> tuple[int, int, bool, int, int]:
        """By place; at one place the stronger action first, then the floor, then as the policy lists them."""
        return self.span.acts, -RANK[self.action], not self.category.floor, self.category.order, self.span.end


class _Local:
    """What one category sees of a text, and the scans of its patterns over it.

    Allowed phrases are blanked first, so nothing is found in them or by their help. A category with exceptions sees the
    text only as far as every phrase that begins before is known.
    """

    def __init__(self, category: Armed, text: Text) -> None:
        self.category, self.text = category, text
        self.view = Text() if category.allowed else text
        self.scans = [(name, Scan(pattern, self.view)) for name, pattern in category.patterns]
        self.allowed = [(Scan(pattern, text), reason) for pattern, reason in category.allowed]
        self.ahead = fronts(scan for scan, _ in self.allowed)
        self.blanks: list[Span] = []
        self._due = self._next()

    def advance(self, final: bool) -> list[Finding]:
        """What was found since the last call. A scan that takes too long is given up."""
        found = self._see(final) if self.allowed else []
        raw, folded = len(self.view.raw), len(self.view.folded)
        if final or raw >= self._due[False] or folded >= self._due[True]:
            for name, scan in self.scans:
                if final or scan.due <= (folded if scan.pattern.folded else raw):
                    found += self._settled(name, scan, final)
            self._due = self._next()
        return found

    def _next(self) -> tuple[float, float]:
        """Lengths of the text, raw and folded, from which something can be decided again."""
        due: tuple[list[float], list[float]] = ([math.inf], [math.inf])
        for _, scan in self.scans:
            due[scan.pattern.folded].append(scan.due)
        return min(due[0]), min(due[1])

    def _settled(self, name: str, scan: Scan, final: bool) -> list[Finding]:
        try:
            spans = scan.settle(final)
        except TimeoutError:
            scan.give_up()
            return self.given_up([scan])
        return [Finding(span, self.category, name, self.category.action, f"{name} matched") for span in spans]

    def given_up(self, late: Sequence[Scan]) -> list[Finding]:
        """Failures of the scans of this category that took too long."""
        found = []
        for name, scan in self.scans:
            if scan in late:
                found.append(_failure(self.category, name, scan.place, f"{name} took too long"))
        self.scans = [(name, scan) for name, scan in self.scans if scan not in late]
        return found

    def _see(self, final: bool) -> list[Finding]:
        """Let the view grow, with what is allowed blanked."""
        found: list[Finding] = []
        for scan, reason in self.allowed:
            spans = scan.settle(final)
            self.blanks += spans
            found += [Finding(span, self.category, "allow", "allow", f"allowed: {reason}") for span in spans]
        for front in self.ahead:
            front.advance(final)
        begin, end = len(self.view.raw), min(front.clear for front in self.ahead)
        piece = list(self.text.raw[begin:end])
        for span in self.blanks:
            for place in range(max(span.start, begin), min(span.end, end)):
                piece[place - begin] = " "
        self.blanks = [span for span in self.blanks if span.end > end]
        self.view.grow("".join(piece))
        return found


class _Asked:
    """One detector of whole texts: asked about the text up to each multiple of `every`, and about all of it."""

    def __init__(self, seen: _Local, whole: Whole, messages: Messages, role: str) -> None:
        self.seen, self.category, self.whole, self.messages, self.role = seen, seen.category, whole, messages, role
        self.clear, self.done = 0, False

    def advance(self, final: bool) -> list[Finding]:
        """What it flags since the last call; after a first time it is not asked again."""
        found: list[Finding] = []
        text = self.seen.view.raw
        every = self.whole.every
        while not self.done and every is not None and self.clear + every <= len(text):
            found += self._look(text, self.clear + every)
        if final and not self.done and self.clear < len(text):
            found += self._look(text, len(text))
        if self.done or final:
            self.clear = len(text)
        return found

    def _look(self, text: str, end: int) -> list[Finding]:
        span, self.clear = Span(self.clear, end), end
        if not text[:end].strip():
            return []
        try:
            flag = self.whole.flags(self.messages, self.role, text[:end])
        except (Failed, TimeoutError) as error:
            self.done, words = True, error.words if isinstance(error, Failed) else ""
            return [_failure(self.category, self.whole.name, span.start, str(error), words)]
        self.done = flag is not None
        return [Finding(span, self.category, self.whole.name, self.category.action, *flag)] if flag else []


class Pass:
    """One text, said by `role` after `messages`, under some categories; `told` gets each finding and its text."""

    def __init__(
        self,
        categories: Sequence[Armed],
        messages: Messages,
        role: str,
        told: Callable[[Finding, str], Any],
        last: bool = True,
    ) -> None:
        self.text = Text()
        self.locals = [_Local(category, self.text) for category in categories]
        shared = [scan for local in self.locals if local.view is self.text for _, scan in local.scans]
        apart = [[scan for _, scan in local.scans] for local in self.locals if local.view is not self.text]
        self.fronts = [front for scans in (shared, *apart) for front in fronts(scans)]
        self.views = [local.view for local in self.locals if local.view is not self.text]
        self.asked = [
            _Asked(local, whole, messages, role)
            for local in self.locals
            for whole in local.category.wholes
            if last or not whole.slow
        ]
        self.told = told
        self.waiting: list[Finding] = []
        self.decision, self.strength = Decision("allow"), (RANK["allow"], False)
        self.released, self.blocked = 0, False
        self.hidden: list[Span] = []  # what was masked

    def feed(self, piece: str, final: bool = False) -> tuple[str, Decision | None]:
        """The text that may be released now, and the decision where it grew stronger."""
        if self.blocked:
            return "", None
        self.text.grow(piece)
        before = self.decision
        clear = self._look(final)
        if not self.waiting:
            return self._up_to(clear), None
        out: list[str] = []
        ready = sorted((f for f in self.waiting if f.span.acts < clear or final), key=lambda f: f.order)
        self.waiting = [finding for finding in self.waiting if finding not in ready]
        stop = next((place for place, finding in enumerate(ready) if finding.action == "block"), len(ready))
        for finding in ready[: stop + 1]:
            self._act(finding, out)
        if stop == len(ready):
            out.append(self._up_to(clear))
        return "".join(out), self.decision if self.decision is not before else None

    def _look(self, final: bool) -> int:
        """Let every detector look; the place before which all is known."""
        clear = len(self.text.raw)
        for local in self.locals:
            self.waiting += local.advance(final)
        for asked in self.asked:
            self.waiting += asked.advance(final)
            clear = min(clear, asked.clear)
        for front in self.fronts:
            if late := front.advance(final):
                self.waiting += [failure for local in self.locals for failure in local.given_up(late)]
            clear = min(clear, front.clear)
        return len(self.text.raw) if final else min([clear, *(len(view.raw) for view in self.views)])

    def _act(self, finding: Finding, out: list[str]) -> None:
        action = finding.action
        self.told(finding, self.text.raw[finding.span.start : finding.span.end])
        strength = RANK[action], finding.category.floor
        if action != "allow" and strength > self.strength:
            self.strength = strength
            reason = ": ".join(filter(None, (finding.reason, finding.words)))
            self.decision = Decision(action, finding.category.name, reason, _shown(finding.category, action))
        if action in ("block", "mask"):
            out.append(self._up_to(finding.span.acts))
        if action == "mask":
            if self.released <= finding.span.start:
                out.append(finding.category.mask)
            self.released = max(self.released, finding.span.end)
            self.hidden.append(finding.span)
        self.blocked = action == "block"

    def _up_to(self, place: int) -> str:
        start, self.released = self.released, max(self.released, place)
        return self.text.raw[start:place]


class PolicyWatch:
    """Guards one answer as it streams."""

    def __init__(self, running: Pass) -> None:
        self._running = running

    def feed(self, text: str) -> tuple[str, Decision | None]:
        """The text that may be released now, masked, and a decision where a stronger one than before fell."""
        return self._running.feed(text)

    def finish(self) -> tuple[str, Decision | None]:
        """The rest, once the answer has ended."""
        return self._running.feed("", final=True)

    @property
    def decision(self) -> Decision:
        """The strongest decision so far."""
        return self._running.decision

    @property
    def quick(self) -> bool:
        """Whether only the floor looks, whose patterns are known to take no time worth a thread."""
        return all(local.category.floor for local in self._running.locals)

    @property
    def passed(self) -> int:
        """Characters of the answer that have been released, or hidden for good."""
        return self._running.released

    def hides(self, start: int, end: int) -> bool:
        """Whether any of these characters, which have passed, were masked."""
        return any(span.start < end and span.end > start for span in self._running.hidden)


def _failure(category: Armed, detector: str, place: int, reason: str, words: str = "") -> Finding:
    return Finding(Span(place, place), category, detector, category.on_failure, f"failed: {reason}", words)


def _shown(category: Armed, action: Action) -> str:
    if action == "mask":
        return category.mask
    return category.message if action in ("block", "warn") else ""
