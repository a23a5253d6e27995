"""Rows of preferences: the two of a pair, or one that was judged, as each objective takes them.

A document of the store holds both rows of a pair, so that a pair is one thing to the blend: drawn together, with the
length of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.rows import Ids, TokenRow
from bloomery.data.render import Mask
from bloomery.data.rows import Ints, RowTable
from bloomery.data.shapes import PREFERENCES
from bloomery.data.store import TokenStore


@dataclass(frozen=True, slots=True)
class Form:
    """How an objective takes preferences.

    `averaged`: log-probabilities are means over the answer's tokens, not sums. `alone`: an answer is judged by
    itself, beside a row that pairs its prompt with the answer to another. `imitated`: what is chosen is also learned
    by cross-entropy.
    """

    averaged: bool = False
    alone: bool = False
    imitated: bool = False


FORMS = {"dpo": Form(), "ipo": Form(averaged=True), "kto": Form(alone=True), "orpo": Form(True, imitated=True)}
"""Objective -> the form of its rows, as TRL 1.16 takes them."""


def row_table(
    store: TokenStore,
    context: int,
    policy: str = "auto",
    drop_limit: float = 0.01,
    docs: Ints | None = None,
    objective: str = "text",
) -> RowTable:
    """The rows of a source for an objective. Raises `InputError` where the objective cannot learn from its shape."""
    if store.shape not in PREFERENCES:
        return RowTable(store, context, policy, drop_limit, docs)
    form = FORMS.get(objective)
    if form is None or (store.shape == "judged" and not form.alone):
        holds, usual = ("pairs of answers", "dpo") if store.shape == "preference" else ("judged answers", "kto")
        raise InputError(f"`{store.name}` holds {holds}: no rows for `objective: {objective}`", fix=f"use `{usual}`")
    return PreferenceTable(store, context, policy, drop_limit, docs, form)


class PreferenceTable(RowTable):
    """Pairs of answers or judged ones; what is too long is dropped whole, never cut.

    `lengths` counts both rows of a pair; the rows that KTO only measures count nowhere.
    """

    def __init__(
        self, store: TokenStore, context: int, policy: str, drop_limit: float, docs: Ints | None, form: Form
    ) -> None:
        if policy not in ("auto", "drop"):
            raise InputError(
                f"source `{store.name}`: `overlong: {policy}` would cut one of two answers, and with it the comparison",
                fix="set `overlong: drop` on the source",
            )
        self.form = form
        super().__init__(store, context, "drop", drop_limit, docs)

    def rows(self, index: int, epoch: int = 0) -> list[TokenRow]:
        """The chosen row, then the rejected one, whichever there are; each followed by the row that KTO measures."""
        name, example = f"{self.name}:{epoch}:{index}", self.store.example_id(int(self._docs[index]))
        group = None if self.form.alone else name
        found = []
        for side, (ids, trained) in self._sides(index).items():
            weight = trained.astype(np.float32) * (1 if side == "chosen" else -1)
            parts = {"pref": weight / trained.sum() if self.form.averaged else weight}
            if self.form.imitated and side == "chosen":
                parts["ce"] = trained.astype(np.float32)
            found.append(TokenRow(ids, parts, f"{name}:{side}", self.name, example, group))
            if self.form.alone:
                found.append(self._mismatched(index, side, f"{name}:{side}:kl", example))
        return found

    def to_json(self) -> dict[str, Any]:
        """Counts for the receipt, in pairs, or in judged answers by what was thought of them."""
        desired = self.store.desired[self._docs]
        both = int(((desired > 0) & (desired < self.lengths)).sum())
        counts = {"pairs": both, "desirable": int((desired > 0).sum()) - both, "undesirable": int((desired == 0).sum())}
        return super().to_json() | {key: count for key, count in counts.items() if count}

    def _longest(self, chosen: Ints) -> Ints:
        desired = self.store.desired[chosen]
        longest: Ints = np.maximum(desired, self.store.lengths[chosen] - desired)
        return longest

    def _sides(self, index: int) -> dict[str, tuple[Ids, Mask]]:
        doc = int(self._docs[index])
        ids, trained = self.store.tokens(doc, 0, int(self.store.lengths[doc]))
        cut = int(self.store.desired[doc])
        sides = {"chosen": (ids[:cut], trained[:cut]), "rejected": (ids[cut:], trained[cut:])}
        return {side: row for side, row in sides.items() if len(row[0])}

    def _mismatched(self, index: int, side: str, row_id: str, example: str) -> TokenRow:
        """This prompt with the answer of the row before it, which KTO measures the distance to the start on.

        TRL rotates the answers of a batch by one, in the order of the data set, and cuts what is then too long.
        """
        own, own_trained = self._sides(index)[side]
        before = self._sides((index - 1) % self.n_rows)
        other, trained = before.get(side) or next(iter(before.values()))
        start, first = int(np.argmax(own_trained)), int(np.argmax(trained))
        ids = np.concatenate([own[:start], other[first:]])[: self.context]
        weight = np.concatenate([np.zeros(start, np.float32), trained[first:].astype(np.float32)])[: self.context]
        return TokenRow(ids, {"kl": weight}, row_id, self.name, example)
