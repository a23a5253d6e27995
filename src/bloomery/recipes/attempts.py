"""How often held-out tasks of a training by rewards are attempted, within a bounded number of answers.

An interval is over tasks: a second answer to the same task narrows it less than an answer to another one. So every task
is answered once, as many as there is room for, and a part of them, evenly spread, as often as pass@k needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.recipes.plan import Plan

if TYPE_CHECKING:
    from bloomery.evals.suites import Row

ATTEMPTS = 4
"""Answers to a task from which pass@k is told."""


def drawn(plan: Plan, path: Path) -> tuple[Sequence[Row], dict[str, Any]]:
    """The held-out tasks of a file that are attempted, and how: at the temperature and the length of training."""
    from bloomery.evals.suites import evenly, read_jsonl

    rows, told = read_jsonl(path), plan.section("rollouts")
    tasks, again = shared_out(len(rows), plan.get("eval.answers"))
    chosen = [rows[place] for place in evenly(len(rows), tasks)]
    how = {"samples": ATTEMPTS, "repeated": again, "max_new_tokens": told["max_tokens"]}
    return chosen, how | {"temperature": told["temperature"]}


def shared_out(rows: int, most: int) -> tuple[int, int]:
    """(tasks, those of them with `ATTEMPTS` answers): no more than `most` answers, at most about half for the latter
    where there are tasks enough."""
    again = min(rows, max(most // (2 * ATTEMPTS), (most - rows) // (ATTEMPTS - 1)))
    return min(rows, most - (ATTEMPTS - 1) * again), again
