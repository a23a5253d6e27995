"""The classification mode: labels by the likelihood of their words, all questions about a text in one pass."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Engine
from bloomery.evals.classify_trie import TrieScorer
from bloomery.evals.prompts import Prompter
from bloomery.review.scores import Array, batch_prior, label_scores, less_prior
from bloomery.review.spec import ClassifierSpec

AT_ONCE = 64
"""Texts whose rows are made and scored together."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Classified:
    """Log-probabilities [n, labels] of every question, without the prior but before any scaling.

    `seconds` is wall time; `tokens` were computed, where `alone` would have been, each answer scored by itself.
    """

    scores: Mapping[str, Array]
    seconds: float
    tokens: int
    alone: int


class Classifier:
    """One classifier file on one engine. The prior of texts without content is scored once, when it is made."""

    def __init__(self, spec: ClassifierSpec, engine: Engine, tokenizer: Any, render: str = "auto") -> None:
        """Raises `InputError` where the words of two labels cannot be told apart."""
        self.spec, self.engine = spec, engine
        self.scorer = TrieScorer(engine)
        self._prompter = Prompter(tokenizer, render)
        self._forms = {
            name: [list(map(self._ids, words)) for words in spec.forms(name).values()] for name in self.names
        }
        for name in self.names:
            self._refuse_same(name)
        self.prior = self._empty_prior() if spec.prior == "contextual" else {}

    @property
    def names(self) -> list[str]:
        """The questions in order."""
        return list(self.spec.questions)

    def __call__(self, rows: Sequence[Row]) -> Classified:
        """Score rows. Raises `InputError` for one that lacks a column, or does not fit the context with its answers."""
        began, computed, alone = time.perf_counter(), self.scorer.tokens, self.scorer.alone
        raw = self._raw(rows)
        if self.spec.prior == "batch" and len(rows) > 1:
            scores = {name: less_prior(found, batch_prior(found)) for name, found in raw.items()}
        else:
            scores = {name: less_prior(raw[name], self.prior[name]) if self.prior else raw[name] for name in raw}
        spent = time.perf_counter() - began
        return Classified(scores, spent, self.scorer.tokens - computed, self.scorer.alone - alone)

    def _raw(self, rows: Sequence[Row]) -> dict[str, Array]:
        parts = [self._scored(rows[at : at + AT_ONCE]) for at in range(0, len(rows), AT_ONCE)]
        empty = {name: np.zeros((0, len(self._forms[name]))) for name in self.names}
        return {name: np.concatenate([part[name] for part in parts]) for name in self.names} if parts else empty

    def _scored(self, rows: Sequence[Row]) -> dict[str, Array]:
        """One group of token rows a text: its questions, the words of each label behind them."""
        prompts = [[self._prompt(row, name) for name in self.names] for row in rows]
        asked = [
            [
                (prompt + form, len(prompt))
                for name, prompt in zip(self.names, one, strict=True)
                for label in self._forms[name]
                for form in label
            ]
            for one in prompts
        ]
        for row, group in zip(rows, asked, strict=True):
            self._refuse_long(row, max(len(ids) for ids, _ in group))
        starts = [[start for _, start in group] for group in asked]
        logp = [iter(group) for group in self.scorer([[ids for ids, _ in group] for group in asked], starts)]
        found: dict[str, list[list[list[float]]]] = {name: [] for name in self.names}
        for text, one in zip(logp, prompts, strict=True):
            for name, prompt in zip(self.names, one, strict=True):
                start = len(prompt)
                found[name].append([[float(next(text)[start:].sum()) for _ in label] for label in self._forms[name]])
        return {name: _labels(forms) for name, forms in found.items()}

    def _prompt(self, row: Row, question: str) -> list[int]:
        return self._prompter.prompt([{"role": "user", "content": self.spec.shown(row, question)}])

    def _empty_prior(self) -> dict[str, Array]:
        """Log of the mean probability of each label over the texts without content."""
        rows = [dict.fromkeys(self.spec.columns, text) for text in self.spec.empty]
        return {name: batch_prior(scores) for name, scores in self._raw(rows).items()}

    def _ids(self, word: str) -> list[int]:
        ids: list[int] = self._prompter.tokenizer(word, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids

    def _refuse_same(self, question: str) -> None:
        """A form that begins another label's form is likelier than it by itself: it would always win."""
        spoken = [(label, form) for label, forms in enumerate(self._forms[question]) for form in forms]
        names = self.spec.names(question)
        for label, form in spoken:
            for other, longer in spoken:
                if label != other and longer[: len(form)] == form:
                    raise InputError(
                        f"`{question}`: a word of `{names[label]}` begins one of `{names[other]}` in this tokenizer",
                        fix="use words that differ from their first token on",
                    )

    def _refuse_long(self, row: Row, length: int) -> None:
        if length > self.engine.context:
            raise InputError(
                f"row `{row.get('id')}` has {length:,} tokens with its question, the context {self.engine.context:,}",
                fix="cut it, or leave it out: half a text may hide what the other half says",
            )


def _labels(forms: list[list[list[float]]]) -> Array:
    """[n, labels] of log-likelihoods by text, label and form."""
    count = len(forms[0])
    return label_scores([np.array([text[label] for text in forms]) for label in range(count)])
