"""The classifier file: questions about one text, their labels, and the words that stand for each label."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bloomery.core.errors import InputError, Where
from bloomery.core.files import canonical_hash
from bloomery.core.validation import checked, keys_in, place_in
from bloomery.core.yaml import load_yaml

Prior = Literal["contextual", "batch", "none"]

EMPTY = "N/A"
"""What stands for a text without content; arXiv 2102.09690 averages over this, an empty string and [MASK]."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Question(_Section):
    """One policy, asked after the text."""

    ask: str = Field(min_length=1)
    """What is shown behind the text, such as `threat?`."""
    labels: dict[str, list[str]] | None = None
    """Label -> surface forms that the model may answer; their likelihoods are summed. Default: the file's `labels`."""
    positive: str | None = None
    """The label that F1, AUROC and misses are about. Default: the first label."""
    costs: dict[str, float] | None = None
    """Label -> what it costs to take it for another one. Default: 1 each."""


class ClassifierSpec(_Section):
    """A classifier file as it is written."""

    prompt: str = "{text}\n{ask}"
    """What the model is shown: `{ask}` is the question, `{text}` and other names are columns of a row."""
    context: list[str] = []
    """Columns shown before the prompt, a `name: value` line each where a row has them: thread, rule, earlier action."""
    labels: dict[str, list[str]] = {"yes": ["yes"], "no": ["no"]}
    """Label -> surface forms, for all questions without labels of their own."""
    questions: dict[str, Question] = Field(min_length=1)
    """Name -> question. All are answered in one pass over the text."""
    prior: Prior = "contextual"
    """What is taken from the scores: those of a text without content, the mean over a batch, or nothing."""
    empty: list[str] = [EMPTY, ""]
    """Texts without content, for `prior: contextual`."""
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """Conformal sets miss the true label in at most this part of each label's texts."""

    @field_validator("questions", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`threat: "threat?"` is `threat: {ask: "threat?"}`."""
        if not isinstance(value, Mapping):
            return value
        return {name: {"ask": one} if isinstance(one, str) else one for name, one in value.items()}

    @model_validator(mode="after")
    def _answerable(self) -> ClassifierSpec:
        if "ask" not in self.fields:
            raise InputError("`prompt` does not show the question", fix="put `{ask}` into `prompt`")
        for name in self.questions:
            _check(self, name)
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names in braces in `prompt`, in order. Raises `InputError` where it does not parse."""
        try:
            return tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(self.prompt) if name))
        except ValueError as error:
            raise InputError(f"`prompt` does not parse: {error}", fix="write `{{` for a brace") from None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that every row must have."""
        return tuple(name for name in self.fields if name != "ask")

    @property
    def fingerprint(self) -> str:
        """Hash of what scores depend on; a calibration belongs to one."""
        asked = [[name, one.ask, self.forms(name)] for name, one in self.questions.items()]
        return canonical_hash([self.prompt, self.context, asked, self.prior, self.empty])

    def forms(self, question: str) -> dict[str, list[str]]:
        """Label -> surface forms of a question."""
        return self.questions[question].labels or self.labels

    def names(self, question: str) -> list[str]:
        """Labels of a question, in the order of every array of scores."""
        return list(self.forms(question))

    def positive(self, question: str) -> int:
        """Number of the label that F1, AUROC and misses are about."""
        chosen = self.questions[question].positive
        return self.names(question).index(chosen) if chosen else 0

    def costs(self, question: str) -> list[float]:
        """What it costs to take each label for another one."""
        stated = self.questions[question].costs or {}
        return [stated.get(label, 1.0) for label in self.names(question)]

    def shown(self, row: Mapping[str, Any], question: str) -> str:
        """The prompt of one question about a row. Raises `InputError` for a column that the row lacks."""
        lacking = [name for name in self.columns if row.get(name) is None]
        if lacking:
            raise InputError(
                f"row `{row.get('id')}` has no `{lacking[0]}`, which the classifier's prompt shows",
                fix="add the column, or change `prompt`",
            )
        values = {name: str(row[name]) for name in self.columns} | {"ask": self.questions[question].ask}
        return self.lead(row) + "".join(
            literal + (values[name] if name else "") for literal, name, _, _ in string.Formatter().parse(self.prompt)
        )

    def lead(self, row: Mapping[str, Any]) -> str:
        """The lines of context that a row has."""
        return "".join(f"{name}: {row[name]}\n" for name in self.context if row.get(name) not in (None, ""))


def load_spec(path: Path) -> ClassifierSpec:
    """Read a classifier file. Raises `InputError` with file and line for what cannot be a classifier."""
    data, lines = load_yaml(path)
    placed = place_in(lines, path)

    def place(told: str) -> Where | None:  # what is wrong with the whole names its key first
        return placed(next(iter(keys_in(told)), "") if " " in told else told)

    return checked(ClassifierSpec, data, place)


def given_labels(spec: ClassifierSpec, row: Mapping[str, Any], where: Where | None = None) -> dict[str, str]:
    """The true labels of a row, by question: its column `labels`, where true and false mean the first two labels.

    Raises `InputError` for a label that the question does not have.
    """
    stated = row.get("labels")
    if not isinstance(stated, Mapping):
        raise InputError(
            f"row `{row.get('id')}` has no `labels`",
            where=where,
            fix='give each row `"labels": {QUESTION: LABEL}`',
        )
    found = {}
    for question, value in stated.items():
        if question not in spec.questions:
            continue
        names = spec.names(question)
        label = (names[0] if value else names[1]) if isinstance(value, bool) else value
        if label not in names:
            raise InputError(
                f"row `{row.get('id')}`: `{label}` is no label of `{question}` (known: {', '.join(names)})", where=where
            )
        found[question] = str(label)
    return found


def _check(spec: ClassifierSpec, question: str) -> None:
    forms, stated = spec.forms(question), spec.questions[question]
    key = f"questions.{question}.labels" if stated.labels else "labels"
    if len(forms) < 2:
        raise InputError(f"`{key}` holds fewer than two labels", fix="add a label")
    for label, words in forms.items():
        if not words or not all(words):
            raise InputError(f"`{key}.{label}` has no surface form", fix="name the words for it")
    every = [word for words in forms.values() for word in words]
    if len(set(every)) != len(every):
        twice = next(word for word in every if every.count(word) > 1)
        raise InputError(f"`{key}`: `{twice}` stands for two labels", fix="keep it in one")
    if stated.positive is not None and stated.positive not in forms:
        raise InputError(f"`questions.{question}.positive: {stated.positive}` is none of its labels", fix="change it")
    for label, cost in (stated.costs or {}).items():
        if label not in forms or cost < 0:
            raise InputError(f"`questions.{question}.costs.{label}: {cost:g}` is no cost of a label", fix="change it")
