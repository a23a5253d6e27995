"""A blend as the training loop's source of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bloomery.core.rows import Segment, TokenRow
from bloomery.data.blend import Blend
from bloomery.data.loader import AHEAD, StepLoader, rows_of
from bloomery.data.rows import RowTable
from bloomery.data.same import refuse_other_rows

if TYPE_CHECKING:
    from bloomery.train.job import StepRows


class BlendSource:
    """Gives the loop the rows of each step, read ahead in a thread, and takes up again where a checkpoint left off."""

    def __init__(self, blend: Blend, tables: Mapping[str, RowTable]) -> None:
        """`refer` is done to every row on its way: where the run compares with its start, the reference is put in."""
        self.blend, self._tables = blend, tables
        self._identity = {name: table.identity() for name, table in sorted(tables.items())}
        self.refer: Callable[[TokenRow], TokenRow] = lambda row: row
        self._loader: StepLoader | None = None

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        """Steps `first <= step < last` in order."""
        from bloomery.train.job import StepRows

        with StepLoader(self.blend, self._tables, first, last) as self._loader:
            for step, rows, waited in self._loader:
                yield StepRows(step, [self.refer(row) for row in rows], waited, self._state())

    def change(self, done: int, share: Mapping[str, float]) -> tuple[int, dict[str, Any]]:
        """New shares, `done` steps being trained: (the step that they begin at, the state to save in place of the one
        that came with the last step). They begin where nothing has been read ahead, whatever the thread was up to."""
        assert self._loader is not None  # there is a step in training
        self._loader.append(Segment(done + AHEAD, dict(share)))
        return done + AHEAD, self._state()

    def _state(self) -> dict[str, Any]:
        assert self._loader is not None
        return self._loader.state() | {"data": self._identity}

    def distinct(self, last: int) -> Iterator[TokenRow]:
        """Every row of the steps before `last`, each once, in whichever epoch it comes first; moves the blend."""
        seen: set[tuple[str, int]] = set()
        for step in range(last):
            fresh = [ref for ref in self.blend.step(step) if (ref.source, ref.index) not in seen]
            seen |= {(ref.source, ref.index) for ref in fresh}
            yield from rows_of(fresh, self._tables)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step whose state this was. Raises `InputError` where a source's rows changed since."""
        refuse_other_rows(state.get("data", {}), self._identity)
        self.blend.restore(state)
