"""How hard the documents of a source are by what their rows say: a number, or how far annotators agree.

More is harder. What the model itself finds hard is measured elsewhere (`recipes/difficulty.py`): it needs the model.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError, Where, nearest
from bloomery.data.readers import Record

Value = Callable[[Any, Where], float]

KEY = "data.order.column"
"""The key of a recipe that names the column."""


def by_column(
    records: Iterable[Record], rows: npt.NDArray[np.int64], column: str, value: Value
) -> npt.NDArray[np.float64]:
    """`value` of the column in row `rows[d]` (from 0, ascending) for each document d, float64[n_docs].

    Raises `InputError` with file and row where the column is missing or holds something else.
    """
    wanted = set(rows.tolist())
    found = {number: of_record(record, column, value) for number, record in enumerate(records) if number in wanted}
    return np.array([found[number] for number in rows.tolist()], np.float64)


def meaning(by: str, hard: str) -> Value:
    """How a value is read: `by` column or agreement; `hard` says which numbers of a column are."""
    if by == "agreement":
        return disagreement
    return number if hard == "high" else lambda value, where: -number(value, where)


def number(value: Any, where: Where) -> float:
    """A finite number, also one that is written as text, as CSV has it."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        shown = "is empty" if value is None or value == "" else f"holds {str(value)[:60]!r}, which is no number"
        raise InputError(f"the column that says how hard a row is {shown}", where=where, fix=f"change `{KEY}`")
    return found


def disagreement(value: Any, where: Where) -> float:
    """The part of the annotators who do not say what most of them say, in [0, 1).

    `value` is the share of those who say yes, a list of votes, or counts by label; as JSON in text too. A share p
    gives 0.5 - |p - 0.5|: 0 where all agree, 0.5 where they are split.
    """
    value = _parsed(value)
    if isinstance(value, Mapping):
        counts = [number(count, where) for count in value.values()]
        if not counts or min(counts) < 0 or sum(counts) == 0:
            raise InputError("the counts of votes have no vote", where=where, fix=f"remove the row or change `{KEY}`")
        return 1 - max(counts) / sum(counts)
    if isinstance(value, list):
        if not value:
            raise InputError("the list of votes is empty", where=where, fix=f"remove the row or change `{KEY}`")
        return 1 - Counter(map(str, value)).most_common(1)[0][1] / len(value)
    share = number(value, where)
    if not 0 <= share <= 1:
        message = f"{share:g} is no share of annotators, which lies between 0 and 1"
        raise InputError(message, where=where, fix=f"change `{KEY}`, or use `by: column`")
    return round(min(share, 1 - share), 9)  # 0.286 and 0.714 are one difficulty, whatever subtraction leaves


def of_record(record: Record, column: str, value: Value) -> float:
    """`value` of a row's column. Raises `InputError` with file and row."""
    if column not in record.fields:
        raise InputError(
            f"has no column `{column}`{nearest(column, record.fields)}; its columns: {', '.join(record.fields)}",
            where=record.where,
            fix=f"change `{KEY}`, or give every row of the domain one",
        )
    return value(record.fields[column], record.where)


def _parsed(value: Any) -> Any:
    """A list or mapping that came as text."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
