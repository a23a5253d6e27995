"""Metrics that users write: a Python function over all records, in a process that can be killed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.errors import InputError, nearest
from bloomery.core.intervals import Interval
from bloomery.core.sandbox import call_each
from bloomery.core.sandbox_level import Limits
from bloomery.evals.results import Record
from bloomery.graders.payload import number_or_reason

BLOCKS = 20
"""Parts of the records that are left out in turn."""
T_19 = 2.093
"""97.5 % quantile of Student's t at 19 degrees of freedom."""
KEYS = ("type", "path", "function", "name", "trusted", "seconds", "memory")


def check_own(spec: Mapping[str, Any]) -> None:
    """Raise `InputError` for a metric of unknown type or keys, without a path, or whose code is not trusted."""
    if spec.get("type") != "python":
        raise InputError(f"`type: {spec.get('type')}` is no metric of your own", fix="write `type: python`")
    for key in spec:
        if key not in KEYS:
            raise InputError(f"a metric has no key `{key}`{nearest(key, KEYS)}", fix="change it")
    if not spec.get("path"):
        raise InputError("a metric of your own needs `path`", fix="name the Python file")
    if spec.get("trusted") is not True:
        message = f"the metric `{spec.get('name', 'python')}` runs the Python code in {spec['path']}, with your rights"
        raise InputError(message, fix="read it, then set `trusted: true`")


def own_values(spec: Mapping[str, Any], records: Sequence[Record], base: Path | None = None) -> tuple[float, ...]:
    """The function's figure of all records, then of all but one of `BLOCKS` blocks in turn; NaN where it has none.

    It takes a list of records as dictionaries and returns a number. Raises `InputError` where it does not on all of
    them, or where the file is missing or broken.
    """
    check_own(spec)
    rows = [dataclasses.asdict(record) for record in records]
    blocks = np.random.default_rng(0).permutation(len(rows)) % BLOCKS  # rows in order may repeat with any period
    items = [rows, *([row for row, own in zip(rows, blocks, strict=True) if own != out] for out in range(BLOCKS))]
    file = Path(spec["path"]) if base is None else base / spec["path"]
    limits = Limits(float(spec.get("seconds", 60.0)), int(spec.get("memory", 2 << 30)))
    outcomes = call_each(file, str(spec.get("function", "metric")), items, limits)
    whole, reason = number_or_reason(outcomes[0].value)
    if whole is None:
        raise InputError(f"the metric in {file} gave no figure: {outcomes[0].error or reason}", fix="correct it")
    rest = [number_or_reason(outcome.value)[0] for outcome in outcomes[1:]]
    return (whole, *(math.nan if one is None else one for one in rest))


def jackknife(values: Sequence[float]) -> Interval:
    """The interval of a figure from its values with blocks left out (delete-a-group jackknife, Kott 2001).

    Of a figure that another package worked out there is its standard error alone, as the second of two values.
    """
    whole, left = values[0], np.array(values[1:])
    if len(left) == 1:
        half = 1.96 * float(left[0])
        return Interval(whole, whole - half, whole + half)
    if not np.isfinite(left).all():
        return Interval(whole, math.nan, math.nan)
    half = T_19 * math.sqrt((BLOCKS - 1) / BLOCKS * float(((left - left.mean()) ** 2).sum()))
    return Interval(whole, whole - half, whole + half)
