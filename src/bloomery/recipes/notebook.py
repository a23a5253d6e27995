"""An explanation as HTML: the tables that `bloomery explain` prints, as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bloomery.core.table import html_table
from bloomery.recipes.explain import Explanation
from bloomery.recipes.show import SOURCES, VALUES, cost_rows, guesses, source_rows, total_time, value_rows


def explanation_html(found: Explanation) -> str:
    """Sources, values and costs of each training, then every refusal, or that there is none."""
    trainings = (found, *found.later)
    parts = [f"<p><b>{escape(found.name)}</b>: what this run would do</p>"]
    for number, one in enumerate(trainings, 1):
        parts += [f"<p>training {number} of {len(trainings)}</p>"] if found.later else []
        parts += _training(one)
    parts += [f"<p>{escape(told)}</p>"] if (told := total_time(trainings)) else []
    parts += [f"<p><b>refused</b> {escape(str(problem))}</p>" for problem in found.problems]
    return "".join(parts) + ("<p>nothing is refused</p>" if found.can_run else "")


def _training(found: Explanation) -> Iterator[str]:
    if found.plan is None:
        return
    yield html_table(SOURCES, source_rows(found))
    yield from (f"<p>{escape(line)}</p>" for line in guesses(found))
    yield html_table(VALUES, value_rows(found.plan))
    yield html_table((), cost_rows(found))
