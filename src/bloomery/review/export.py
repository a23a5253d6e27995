"""What people decided, as rows for the next run: answers to learn, pairs to prefer, prompts to be rewarded on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.review.queue import Decided
from bloomery.review.spec import ClassifierSpec

Row = dict[str, Any]


def export_rows(spec: ClassifierSpec, decided: Sequence[Decided], kind: str) -> list[Row]:
    """Rows of a kind, those of one text together.

    Raises `InputError` for an unknown kind, and for items whose question the file does not ask.
    """
    if kind not in KINDS:
        raise InputError(f"`{kind}` is no kind of row{nearest(kind, KINDS)}", fix="change --as")
    for one in decided:
        if one.item.question not in spec.questions or one.answer not in spec.forms(one.item.question):
            raise InputError(
                f"the queue asks `{one.item.question}` and has the answer `{one.answer}`, the classifier does not",
                fix="use the classifier file that the queue was filled with",
            )
    place = {name: number for number, name in enumerate(dict.fromkeys(one.item.id for one in decided))}
    together = sorted(decided, key=lambda one: place[one.item.id])
    return [KINDS[kind](spec, one) for one in together]


def _sft(spec: ClassifierSpec, one: Decided) -> Row:
    """The shape `prompt`: the answer in its first surface form. Rows of one text are a `group`."""
    return _named(one) | {"group": one.item.id, "prompt": _prompt(spec, one), "response": _word(spec, one, one.answer)}


def _preference(spec: ClassifierSpec, one: Decided) -> Row:
    """The shape `preference`: against what the model said, or what it held for likeliest after the truth."""
    wrong = max(
        (label for label in one.item.labels if label != one.answer), key=lambda at: one.item.scores.get(at, 0.0)
    )
    sides = {"chosen": _word(spec, one, one.answer), "rejected": _word(spec, one, wrong)}
    return _named(one) | {"prompt": _prompt(spec, one)} | sides


def _rl(spec: ClassifierSpec, one: Decided) -> Row:
    """What graders take: a conversation without its answer, and the answer as reference."""
    word = _word(spec, one, one.answer)
    metadata = {"question": one.item.question, "label": one.answer, "reference_answer": word}
    messages = [{"role": "user", "content": _prompt(spec, one)}]
    return _named(one) | {"messages": messages, "reference_answer": word, "metadata": metadata}


KINDS: Mapping[str, Callable[[ClassifierSpec, Decided], Row]] = {"sft": _sft, "preference": _preference, "rl": _rl}
"""Name of a kind -> its row of one decided item."""


def _named(one: Decided) -> Row:
    return {"id": f"{one.item.id}:{one.item.question}"}


def _prompt(spec: ClassifierSpec, one: Decided) -> str:
    return spec.shown(one.item.row, one.item.question)


def _word(spec: ClassifierSpec, one: Decided, label: str) -> str:
    return spec.forms(one.item.question)[label][0]
