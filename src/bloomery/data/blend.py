"""Which rows make up each step: sources in stated shares of tokens, each in its own seeded order.

Position is a pure function of the step and the segments. The order inside a source depends only on
the seed, the source's name and the epoch, so another source beside it changes nothing.

The rule: of the sources that have not had more than their share so far, take the one whose next row
falls due first. This is worst-case-fair queueing (WF2Q, Bennett and Zhang, INFOCOM 1996): no source is
ever further from its share than one row. Taking simply the largest deficit drifts up to 1.7 rows away
(14 sources, random shares and lengths; we tried).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.core.rows import Segment
from bloomery.data.cursor import Cursor, Sizes
from bloomery.data.supply import check_segments, check_supply, rounding

__all__ = ["Blend", "RowRef", "check_supply"]

MEMORY = 256
"""How many step boundaries are remembered, so that looking back a little costs nothing."""


@dataclass(frozen=True, slots=True)
class RowRef:
    """A row of a step: its source, its index in that source's table, and the epoch it is read in."""

    source: str
    index: int
    epoch: int


class Blend:
    """The rows of every step. `tables` need only `lengths` (tokens of each row)."""

    def __init__(
        self,
        tables: Mapping[str, Sizes],
        segments: Sequence[Segment],
        batch_tokens: int,
        seed: int,
        repetition_cap: float = 4.0,
        late: Collection[str] = (),
    ) -> None:
        """All steps up to one have at most that many times `batch_tokens`, and each at least one row: what one step
        leaves free, because its next row did not fit, the following ones may take. Sources named in `late` never have
        more than their share: they wait until a row of theirs is due in full.

        Raises `InputError` for shares that do not sum to 1, an unknown source, or segments out of order.
        """
        check_segments(segments, tables)
        self.segments, self.batch_tokens, self.seed = list(segments), batch_tokens, seed
        self._tables, self._cap, self._late = dict(tables), repetition_cap, frozenset(late)
        self._cursors = {name: Cursor(name, tables[name], seed) for name in sorted(tables)}
        self._step, self._tokens = 0, 0
        self._segment = -1
        self._anchor: dict[str, float] = dict.fromkeys(self._cursors, 0.0)
        self._anchor_tokens = 0
        self._past: dict[int, dict[str, Any]] = {0: self._snapshot()}

    @property
    def next_step(self) -> int:
        """The first step whose rows are not fixed yet; a new segment may begin there or later."""
        return self._step

    def step(self, step: int) -> list[RowRef]:
        """Rows of `step` (from 0), in the order they were drawn.

        Going on from the last step asked for costs nothing; going back replays from the nearest
        remembered boundary. Raises `InputError` when a source would be repeated beyond the cap.
        """
        if step != self._step:
            self._seek(step)
        rows = self._take()
        self._step += 1
        self._past[self._step] = self._snapshot()
        if len(self._past) > MEMORY:
            del self._past[min(key for key in self._past if key)]
        return rows

    def realised(self) -> dict[str, int]:
        """Tokens taken from each source before `next_step`."""
        return {name: cursor.tokens for name, cursor in self._cursors.items()}

    def asked(self) -> dict[str, float]:
        """Tokens that the shares give each source of those taken before `next_step`."""
        return {name: self._due(name) for name in self._cursors}

    def epochs(self) -> dict[str, float]:
        """How often each source has been read before `next_step`, in fractions of its tokens."""
        return {name: cursor.tokens / cursor.supply for name, cursor in self._cursors.items()}

    def drawn(self, name: str) -> tuple[int, npt.NDArray[np.int64]]:
        """Whole epochs of a source read before `next_step`, and its rows read in the epoch that is under way."""
        return self._cursors[name].drawn()

    def state(self, step: int | None = None) -> dict[str, Any]:
        """JSON from which `restore` goes on at `step` (None: `next_step`) in constant time."""
        if step is not None and step not in self._past:
            self._seek(step)
        position = self._past[self._step if step is None else step]
        segments = [{"start": s.start, "share": dict(s.share)} for s in self.segments]
        return position | {"segments": segments, "seed": self.seed, "batch_tokens": self.batch_tokens}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises `InputError` when sources, seed or step size differ from when it was saved."""
        for key, now in (("seed", self.seed), ("batch_tokens", self.batch_tokens)):
            if state[key] != now:
                raise InputError(
                    f"the run was saved with `{key}: {state[key]}`, now it is {now}", fix=f"set `{key}` back"
                )
        self.segments = [Segment(int(s["start"]), dict(s["share"])) for s in state["segments"]]
        check_segments(self.segments, self._tables)
        keys = ("step", "tokens", "segment", "anchor", "anchor_tokens", "cursors")
        self._load({key: state[key] for key in keys})
        self._past = {0: self._past[0], self._step: self._snapshot()}

    def append(self, segment: Segment) -> None:
        """Add a segment for steps not taken yet. Raises `InputError` if it would change a step already fixed."""
        if segment.start < self._step:
            raise InputError(f"a segment from step {segment.start} would change steps already taken ({self._step})")
        check_segments([*self.segments, segment], self._tables)
        self.segments.append(segment)

    def _take(self) -> list[RowRef]:
        self._enter_segment()
        share = self.segments[self._segment].share
        active = [(name, self._cursors[name], share[name]) for name in sorted(share) if share[name] > 0]
        rows: list[RowRef] = []
        room = (self._step + 1) * self.batch_tokens - self._tokens
        while True:
            cursor = self._next(active)
            length = cursor.next_length()
            if rows and length > room:
                return rows
            self._refuse_repetition(cursor, length)
            epoch, index = cursor.take()
            rows.append(RowRef(cursor.name, index, epoch))
            self._tokens += length
            room -= length

    def _next(self, active: list[tuple[str, Cursor, float]]) -> Cursor:
        """The source whose next row falls due first, of those not ahead of their share.

        Where all are ahead, or late ones wait: the first to fall due of those that need not wait.
        """
        since = self._tokens - self._anchor_tokens
        best = first = active[0][1]
        best_due = first_due = float("inf")
        eligible = False
        for name, cursor, share in active:
            behind = self._anchor[name] + share * since - cursor.tokens
            length = cursor.next_length()
            due = (length - behind) / share
            needed = length * (1 - share) if name in self._late else 0.0
            if behind >= needed - 1e-6 and due < best_due:
                best, best_due, eligible = cursor, due, True
            if due < first_due and (name not in self._late or share == 1):
                first, first_due = cursor, due
        return best if eligible else first

    def _enter_segment(self) -> None:
        """Move to the segment of the current step; what a source was owed so far it stays owed."""
        while self._segment + 1 < len(self.segments) and self.segments[self._segment + 1].start <= self._step:
            self._anchor = {name: self._due(name) for name in self._cursors}
            self._anchor_tokens = self._tokens
            self._segment += 1

    def _due(self, name: str) -> float:
        share = self.segments[self._segment].share.get(name, 0.0) if self._segment >= 0 else 0.0
        return self._anchor[name] + share * (self._tokens - self._anchor_tokens)

    def _refuse_repetition(self, cursor: Cursor, length: int) -> None:
        if cursor.tokens > self._cap * cursor.supply + rounding(cursor.supply, self.batch_tokens) + length:
            raise InputError(
                f"source `{cursor.name}` has been read {self._cap:g} times before step {self._step}, its cap",
                fix="lower its share or the budget, add rows, or raise `repetition_cap`",
            )

    def _snapshot(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "tokens": self._tokens,
            "segment": self._segment,
            "anchor": dict(self._anchor),
            "anchor_tokens": self._anchor_tokens,
            "cursors": {name: cursor.state() for name, cursor in self._cursors.items()},
        }

    def _load(self, position: Mapping[str, Any]) -> None:
        if sorted(position["cursors"]) != sorted(self._cursors):
            raise InputError(f"the checkpoint blends {sorted(position['cursors'])}, the recipe {sorted(self._cursors)}")
        self._step, self._tokens = int(position["step"]), int(position["tokens"])
        self._segment, self._anchor_tokens = int(position["segment"]), int(position["anchor_tokens"])
        self._anchor = {name: float(value) for name, value in position["anchor"].items()}
        for name, cursor in self._cursors.items():
            cursor.restore(position["cursors"][name])

    def _seek(self, step: int) -> None:
        if step < 0:
            raise InputError(f"there is no step {step}")
        if not self._step <= step:
            self._load(self._past[max(key for key in self._past if key <= step)])
        while self._step < step:
            self.step(self._step)
