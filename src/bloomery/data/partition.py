"""Rows on two sides by time or by community, written as two files: what a model will meet is later, or elsewhere."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bloomery.core.errors import InputError

Rows = Sequence[Mapping[str, Any]]


def by_time(rows: Rows, column: str, part: float) -> tuple[list[int], list[int]]:
    """(earlier, later) row numbers: the latest `part` are held out, rows of one moment on one side.

    A time is a number or an ISO date; those without a zone are taken as UTC. Raises `InputError` for any other.
    """
    times = [_time(row, column, number) for number, row in enumerate(rows, 1)]
    edge = sorted(times)[len(rows) - _wanted(rows, part)]
    return _sides([time >= edge for time in times], f"all rows have the same `{column}`")


def by_group(rows: Rows, column: str, part: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """(seen, unseen) row numbers: whole groups are held out, in an order by hash, until they have `part` of the rows.

    A group that would make more than twice of that stays on the seen side.
    """
    groups: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row.get(column) is None:
            raise InputError(f"row {number} has no `{column}`", fix="change --column")
        groups[str(row[column])] = groups.get(str(row[column]), 0) + 1
    wanted, held, total = _wanted(rows, part), set(), 0
    for name in sorted(groups, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest()):
        if total < wanted and total + groups[name] <= 2 * wanted:
            held.add(name)
            total += groups[name]
    return _sides([str(row[column]) in held for row in rows], f"no group of `{column}` is small enough to hold out")


def _sides(held: Sequence[bool], why: str) -> tuple[list[int], list[int]]:
    seen, unseen = ([n for n, one in enumerate(held) if one is side] for side in (False, True))
    if not seen or not unseen:
        raise InputError(f"nothing can be held out: {why}", fix="change --column or --part")
    return seen, unseen


def _wanted(rows: Rows, part: float) -> int:
    if not 0 < part < 1 or len(rows) < 2:
        raise InputError(f"{part:.0%} of {len(rows)} rows cannot be held out", fix="give --part such as 20%")
    return max(1, math.ceil(part * len(rows)))


def _time(row: Mapping[str, Any], column: str, number: int) -> float:
    value = row.get(column)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise InputError(
            f"row {number}: `{column}` is no time: {str(value)[:40]}", fix="use numbers or ISO dates"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
