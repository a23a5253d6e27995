"""A blend as the training loop's source of steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bloomery.data.blend import Blend
from bloomery.data.loader import StepLoader
from bloomery.data.rows import RowTable

if TYPE_CHECKING:
    from bloomery.train.loop import StepRows


class BlendSource:
    """Gives the loop the rows of each step, read ahead in a thread, and takes up again where a checkpoint left off."""

    def __init__(self, blend: Blend, tables: Mapping[str, RowTable]) -> None:
        self.blend, self._tables = blend, tables

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        """Steps `first <= step < last` in order."""
        from bloomery.train.loop import StepRows

        with StepLoader(self.blend, self._tables, first, last) as loader:
            for step, rows, waited in loader:
                yield StepRows(step, rows, waited, loader.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step whose state this was."""
        self.blend.restore(state)
