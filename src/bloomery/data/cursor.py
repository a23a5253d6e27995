"""Where one source stands: its epoch, its place in that epoch's seeded order, the tokens taken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError


class Sizes(Protocol):
    """What the blend needs of a table: `lengths`, int64[n_rows] in tokens, and `groups`, uint64[n_rows] or None:
    neighbours of one value other than 0 are drawn together."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]: ...

    @property
    def groups(self) -> npt.NDArray[np.uint64] | None: ...


class Cursor:
    """Walks through one source's rows, epoch after epoch, each in its own order."""

    def __init__(self, name: str, table: Sizes, seed: int) -> None:
        self.name, self.tokens = name, 0
        self.supply = int(table.lengths.sum())
        self._lengths, self._seed = table.lengths, seed
        self._units = None if table.groups is None else units(table.groups)
        self._epoch, self._next = -1, 0
        self._enter(0, 0)

    def next_length(self) -> int:
        """Tokens of the row that `take` would give."""
        return self._next

    def take(self) -> tuple[int, int]:
        """(epoch, row index) of the next row; moves on."""
        taken = self._epoch, int(self._order[self._place])
        self.tokens += self._next
        if self._place + 1 == len(self._order):
            self._enter(self._epoch + 1, 0)
        else:
            self._place += 1
            self._next = int(self._lengths[self._order[self._place]])
        return taken

    def drawn(self) -> tuple[int, npt.NDArray[np.int64]]:
        """Whole epochs read, and the rows read in the present one."""
        return self._epoch, self._order[: self._place]

    def state(self) -> dict[str, int]:
        """JSON for `restore`; `rows` and `supply` tell whether it is still the same source."""
        here = {"epoch": self._epoch, "place": self._place, "tokens": self.tokens}
        return here | {"rows": len(self._lengths), "supply": self.supply}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back or on to a state. Raises `InputError` when the source's rows changed since."""
        if (state["rows"], state["supply"]) != (len(self._lengths), self.supply):
            raise InputError(
                f"source `{self.name}` had {state['rows']:,} rows and {state['supply']:,} tokens when this run was "
                f"saved, now it has {len(self._lengths):,} and {self.supply:,}",
                fix="restore the data as it was, or start a new run from the checkpoint",
            )
        self.tokens = int(state["tokens"])
        self._enter(int(state["epoch"]), int(state["place"]))

    def _enter(self, epoch: int, place: int) -> None:
        if self._epoch != epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        self._place = place
        self._next = int(self._lengths[self._order[place]])

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        """The rows of an epoch in order: shuffled, those of a group one after the other."""
        if self._units is None:
            return order(len(self._lengths), self._seed, self.name, epoch)
        first, count = self._units
        shuffled = order(len(first), self._seed, self.name, epoch)
        sizes = count[shuffled]
        inside = np.arange(len(self._lengths)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.repeat(first[shuffled], sizes) + inside


def units(groups: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(first row, rows) of each stretch of neighbours that are drawn together; a row of group 0 is one by itself."""
    begins = np.append(True, (groups[1:] != groups[:-1]) | (groups[1:] == 0))
    first = np.flatnonzero(begins)
    return first, np.diff(np.append(first, len(groups)))


def order(count: int, seed: int, name: str, epoch: int) -> npt.NDArray[np.int64]:
    """Permutation of range(count) for one source and epoch: rows sorted by a hash of their index.

    Our own mixing rather than a library's generator, whose streams may
    change between versions: a run must resume to the same rows years later.
    """
    start = hashlib.sha256(f"{seed}\x00{name}\x00{epoch}".encode()).digest()[:8]
    return np.argsort(mix(np.arange(count, dtype=np.uint64), int.from_bytes(start, "little")), kind="stable")


def mix(values: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 (Steele et al. 2014) of each value, uint64; different seeds give unrelated orders."""
    mixed = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & (1 << 64) - 1)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
