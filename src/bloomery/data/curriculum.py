"""Easy to hard: a source cut into stages by difficulty, and shares that lead through them.

Stage i draws mostly rows of its own difficulty and, for its `replay` part, rows of all earlier stages by their tokens.
How long the stages are follows from one wish: over the run every row is seen as often as with shuffled rows. The last
stage's rows are drawn in the last stage only, so that its length is known; going back from there, what later stages
replay of a stage is subtracted from its own length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.core.rows import Segment
from bloomery.data.pairs import row_table
from bloomery.data.rows import RowTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stage:
    """Rows of a source between two difficulties, as a table of its own: `SOURCE@1` is the easiest."""

    table: RowTable
    easiest: float
    hardest: float

    def to_json(self) -> dict[str, Any]:
        """What plan and receipt tell of it."""
        counts = {"name": self.table.name, "documents": self.table.n_documents, "tokens": self.table.n_tokens}
        return counts | {"easiest": self.easiest, "hardest": self.hardest}


def stage_name(source: str, number: int) -> str:
    """What the blend calls stage `number` (from 1) of a source."""
    return f"{source}@{number}"


def stages_of(whole: RowTable, difficulty: Floats, count: int, objective: str) -> tuple[Stage, ...]:
    """The rows of a table as `count` stages, by the difficulty of its documents (those of `documents_of`, in order).

    Raises `InputError` where there are fewer documents or difficulties than stages.
    """
    documents, tokens = documents_of(whole)
    _refuse_alike(difficulty, count, whole.name)
    number = _cut(difficulty, tokens, count)
    found = []
    for stage in range(count):
        own = number == stage
        store = copy(whole.store)
        store.name = stage_name(whole.name, stage + 1)  # rows, groups and their order go by name
        table = row_table(store, whole.context, whole.policy, 1.0, documents[own], objective)
        found.append(Stage(table, float(difficulty[own].min()), float(difficulty[own].max())))
    return tuple(found)


def documents_of(table: RowTable) -> tuple[Ints, Ints]:
    """(documents of the store with a row in the table, ascending; their tokens in it)."""
    documents, row = np.unique(table.documents(), return_inverse=True)
    return documents, np.bincount(row, table.lengths).astype(np.int64)


def _refuse_alike(difficulty: Floats, count: int, name: str) -> None:
    levels = np.unique(difficulty)
    if len(difficulty) < count:
        message = f"source `{name}` has {len(difficulty)} documents, fewer than `data.order.stages: {count}`"
        raise InputError(message, fix="lower `stages`, add rows, or use `order: shuffle`")
    if len(levels) == 1:
        message = f"source `{name}`: all documents are of one difficulty ({levels[0]:g}), which leaves nothing to order"
        raise InputError(message, fix="use another column, or `order: shuffle`")
    if len(levels) < count:
        message = f"source `{name}` has {len(levels)} different difficulties, fewer than `data.order.stages: {count}`"
        raise InputError(message, fix=f"set `stages: {len(levels)}`: rows of one difficulty are of one stage")


def _cut(difficulty: Floats, tokens: Ints, count: int) -> Ints:
    """The stage (from 0) of each document. Stages have about as many tokens each; equal difficulty is never cut."""
    levels, level = np.unique(difficulty, return_inverse=True)
    size = np.bincount(level, tokens)
    of_level, stage, own, wanted = np.zeros(len(levels), np.int64), 0, 0.0, size.sum() / count
    for here in range(len(levels)):
        later = count - 1 - stage
        if own and ((later and own >= wanted) or len(levels) - here <= later):
            stage, own = stage + 1, 0.0
            wanted = size[here:].sum() / (count - stage)
        of_level[here] = stage
        own += float(size[here])
    found: Ints = of_level[level]
    return found


def lengths(sizes: Sequence[float], replay: float, name: str) -> list[float]:
    """How long each stage lasts, as a part of the source's tokens in the run; `sizes` are the stages' tokens.

    Raises `InputError` where later stages replay more of a stage than a shuffled run would see of it.
    """
    total = float(sum(sizes))
    left = [size / total for size in sizes]
    found = [0.0] * len(sizes)
    for stage in reversed(range(len(sizes))):
        mixed = shares(sizes, stage, replay)
        found[stage] = left[stage] / mixed[stage]
        if found[stage] <= 0:
            message = f"source `{name}`: later stages replay all of stage {stage + 1}, which would have no length"
            raise InputError(message, fix="lower `data.order.replay` or `data.order.stages`")
        left = [rest - found[stage] * share for rest, share in zip(left, mixed, strict=True)]
    return found


def shares(sizes: Sequence[float], stage: int, replay: float) -> list[float]:
    """What stage `stage` (from 0) draws of each stage's rows, summing to 1."""
    earlier = float(sum(sizes[:stage]))
    if not stage:
        return [1.0, *(0.0 for _ in sizes[1:])]
    return [*(replay * size / earlier for size in sizes[:stage]), 1 - replay, *(0.0 for _ in sizes[stage + 1 :])]


def staged(
    segments: Sequence[Segment], steps: int, sizes: Mapping[str, Sequence[float]], replay: float
) -> list[Segment]:
    """The segments of a run of `steps` with every source in `sizes` led through its stages.

    Stages begin at whole steps. Raises `InputError` where a stage would last less than one.
    """
    begins = {name: _begins(segments, steps, name, own, replay) for name, own in sizes.items()}
    starts = sorted({segment.start for segment in segments} | {step for own in begins.values() for step in own})
    found = []
    for start in starts:
        share: dict[str, float] = {}
        for name, part in [s for s in segments if s.start <= start][-1].share.items():
            if part and begins.get(name):
                stage = sum(step <= start for step in begins[name]) - 1
                mixed = enumerate(shares(sizes[name], stage, replay), 1)
                share |= {stage_name(name, number): part * own for number, own in mixed if own}
            else:
                share[name] = part
        found.append(Segment(start, share))
    return found


def _begins(segments: Sequence[Segment], steps: int, name: str, sizes: Sequence[float], replay: float) -> list[int]:
    """The first step of each stage of a source; none where the run takes nothing of it."""
    ends = [*(segment.start for segment in segments[1:]), steps]
    spans = [(s.start, end, s.share.get(name, 0.0)) for s, end in zip(segments, ends, strict=True)]
    total = sum((end - start) * share for start, end, share in spans)
    if not total:
        return []
    found, taken = [0], 0.0
    for length in lengths(sizes, replay, name)[:-1]:
        taken += length
        found.append(_step_at(taken * total, spans))
    if len(set(found)) < len(found) or found[-1] >= steps:
        message = f"source `{name}`: a stage of its {len(sizes)} would last less than one of the run's {steps} steps"
        raise InputError(message, fix="raise `budget`, or lower `data.order.stages` or `optim.batch`")
    return found


def _step_at(amount: float, spans: Sequence[tuple[int, int, float]]) -> int:
    """The step before which a source has given `amount`, in steps of it alone; to the nearest whole one."""
    for start, end, share in spans:
        if amount <= (end - start) * share + 1e-9:
            return round(start + amount / share) if share else start
        amount -= (end - start) * share
    return spans[-1][1]
