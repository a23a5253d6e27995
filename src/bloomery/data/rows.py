"""Documents cut to rows of at most the context length, by a stated policy; nothing is cut or dropped silently."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.core.rows import TokenRow
from bloomery.data.same import Identity
from bloomery.data.store import TokenStore

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cuts:
    """What cutting did: documents and tokens dropped as too long, cut short, or split into several rows."""

    split: int = 0
    truncated: int = 0
    truncated_tokens: int = 0
    dropped: int = 0
    dropped_tokens: int = 0

    def to_json(self) -> dict[str, int]:
        """Plain JSON."""
        return asdict(self)


class RowTable:
    """The rows of one source. `lengths` is int64[n_rows] in tokens.

    Policy `split` cuts a long document into pieces of nearly equal length: every piece after the first
    starts without context, so its first token has weight 0. `drop` leaves long documents out,
    `truncate` keeps their beginning. `auto` splits text and drops conversations, whose later turns
    mean nothing without the earlier ones.
    """

    def __init__(
        self,
        store: TokenStore,
        context: int,
        policy: str = "auto",
        drop_limit: float = 0.01,
        docs: Ints | None = None,
    ) -> None:
        """`docs` limits the table to those documents (a split's training side), in that order.

        Raises `InputError` when more than `drop_limit` of the documents would be dropped or cut short,
        or when no row is left.
        """
        self.store, self.name, self.context = store, store.name, context
        self.policy = ("split" if store.shape == "text" else "drop") if policy == "auto" else policy
        chosen = np.arange(store.n_docs, dtype=np.int64) if docs is None else np.asarray(docs, np.int64)
        long = self._longest(chosen) > context
        self.n_documents = len(chosen)
        self.cuts = self._count(chosen, long)
        self._refuse(long, drop_limit)
        self._docs, self._starts, self.lengths = self._cut(chosen, long)
        self.n_rows, self.n_tokens = len(self.lengths), int(self.lengths.sum())
        if not self.n_rows:
            raise InputError(f"source `{self.name}` has no row left to train on", fix="add rows, or remove the source")

    def __len__(self) -> int:
        return self.n_rows

    def row(self, index: int, epoch: int = 0) -> TokenRow:
        """Row `index` (from 0) as read in `epoch`; only the row id depends on the epoch."""
        doc, start = int(self._docs[index]), int(self._starts[index])
        ids, trained = self.store.tokens(doc, start, start + int(self.lengths[index]))
        weight = trained.astype(np.float32)
        weight[0] = 0.0
        name, group = self.store.example_id(doc), int(self.store.groups[doc])
        together = f"{self.name}:{epoch}:{group}" if group else None
        return TokenRow(ids, {"ce": weight}, f"{self.name}:{epoch}:{index}", self.name, name, together)

    def rows(self, index: int, epoch: int = 0) -> list[TokenRow]:
        """What row `index` gives to a step: itself, and where one is not trained without another, those too."""
        return [self.row(index, epoch)]

    @cached_property
    def groups(self) -> npt.NDArray[np.uint64] | None:
        """uint64[n_rows]: neighbours of one value other than 0 are drawn together; None where no row has a group."""
        found = self.store.groups[self._docs]
        return found if found.any() else None

    @cached_property
    def trained(self) -> Ints:
        """Trained tokens of each row, int64[n_rows]; the first token of a row never is."""
        return self.store.trained_counts(self._docs, self._starts + 1, self._starts + self.lengths)

    def identity(self) -> Identity:
        """What the rows are, so that a run that goes on notices other ones even where there are as many."""
        rows = hashlib.sha256(self.store.content.encode())
        for array in (self._docs, self._starts, self.lengths):
            rows.update(np.ascontiguousarray(array, np.int64).tobytes())
        return {"rows": rows.hexdigest(), "files": self.store.files}

    def documents(self) -> Ints:
        """The store's document behind each row, int64[n_rows]."""
        return self._docs

    def _longest(self, chosen: Ints) -> Ints:
        """Tokens of the longest conversation in each document: what has to fit the context."""
        return self.store.lengths[chosen]

    def _cut(self, chosen: Ints, long: npt.NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
        if self.policy == "drop":
            chosen = chosen[~long]
        lengths = self.store.lengths[chosen]
        if self.policy == "drop":
            return chosen, np.zeros(len(chosen), np.int64), lengths
        if self.policy == "truncate":
            return chosen, np.zeros(len(chosen), np.int64), np.minimum(lengths, self.context)
        pieces = -(-lengths // self.context)
        docs, total = np.repeat(chosen, pieces), np.repeat(lengths, pieces)
        count = np.repeat(pieces, pieces)
        nth = np.arange(len(docs), dtype=np.int64) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        starts = total * nth // count
        return docs, starts, total * (nth + 1) // count - starts

    def _count(self, chosen: Ints, long: npt.NDArray[np.bool_]) -> Cuts:
        lengths, many = self.store.lengths[chosen][long], int(long.sum())
        match self.policy:
            case "split":
                return Cuts(split=many)
            case "drop":
                return Cuts(dropped=many, dropped_tokens=int(lengths.sum()))
            case "truncate":
                return Cuts(truncated=many, truncated_tokens=int((lengths - self.context).sum()))
        raise InputError(f"`overlong: {self.policy}` is unknown", fix="use auto, split, drop or truncate")

    def _refuse(self, long: npt.NDArray[np.bool_], limit: float) -> None:
        many = int(long.sum())
        if self.policy != "split" and many > limit * len(long):
            verb = "dropped" if self.policy == "drop" else "cut short"
            raise InputError(
                f"source `{self.name}`: {many:,} of {len(long):,} rows are longer than the context of "
                f"{self.context:,} tokens and would be {verb}, above `drop_limit: {limit:g}`",
                fix="set `overlong: split`, raise `drop_limit`, or use a model with a longer context",
            )

    def to_json(self) -> dict[str, Any]:
        """Counts for the receipt."""
        return {"policy": self.policy, "rows": self.n_rows, "tokens": self.n_tokens} | self.cuts.to_json()
