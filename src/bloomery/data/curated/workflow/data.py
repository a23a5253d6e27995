"""The demonstration domain as sources of rows: `builtin: workflow-manual` and `builtin: workflow-pairs`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.manual import page
from bloomery.data.curated.workflow.pairs import pair_row
from bloomery.data.curated.workflow.sampler import LEVELS, SPLITS, check_choice

_TRIES = 50
"""Samples drawn for one new row before the source counts as exhausted."""


def manual(seed: int = 0, count: int = 3000, split: str = "train") -> Iterator[dict[str, Any]]:
    """Yield `count` distinct pages of the manual, `{"id", "text"}`; every printed result is the interpreter's.

    Pages of one split never show a program of the other. Raises `InputError` for an unknown split, a count
    below 1, or more pages than there are.
    """
    _check(count, split)
    seen: set[str] = set()
    for index in range(count):
        name = f"workflow-manual:{split}:{seed}:{index}"
        text = _fresh((page(Random(f"{name}:{turn}"), split) for turn in range(_TRIES)), seen, count)
        yield {"id": name, "text": text}


def pairs(seed: int = 0, count: int = 4000, split: str = "train", level: str = "easy") -> Iterator[dict[str, Any]]:
    """Yield `count` task rows with distinct prompts.

    Rows are `{"id", "skill", "prompt", "response", "reference_answer", "metadata"}`.
    `level` is `easy` (programs of 1 to 3 statements) or `hard` (4 to 6). `check.check(answer, row["metadata"])`
    judges an answer. Splits share no program: one in eight, by hash, is held out. Raises `InputError` for an
    unknown split or level, a count below 1, or more rows than there are.
    """
    _check(count, split)
    check_choice("level", level, LEVELS)
    seen: set[str] = set()
    for index in range(count):
        name = f"workflow-pairs:{level}:{split}:{seed}:{index}"
        drafts = (pair_row(Random(f"{name}:{turn}"), level, split) for turn in range(_TRIES))
        row = next((draft for draft in drafts if draft["prompt"] not in seen), None)
        if row is None:
            raise _exhausted(count, len(seen))
        seen.add(row["prompt"])
        yield {"id": name, **row}


def _fresh(texts: Iterator[str], seen: set[str], count: int) -> str:
    text = next((text for text in texts if text not in seen), None)
    if text is None:
        raise _exhausted(count, len(seen))
    seen.add(text)
    return text


def _exhausted(count: int, found: int) -> InputError:
    return InputError(f"`count: {count}` is more than there are: {found} distinct rows", fix="lower `count`")


def _check(count: int, split: str) -> None:
    check_choice("split", split, SPLITS)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"`count: {count}` is not a number of rows", fix="set `count` to 1 or more")
