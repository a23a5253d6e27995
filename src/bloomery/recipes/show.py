"""Printing an explanation: one table of sources, one of values with where each came from, and the refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bloomery.data.shapes import guess
from bloomery.recipes.course import course_lines
from bloomery.recipes.curriculum import stage_lines
from bloomery.recipes.explain import Explanation, SourceRow
from bloomery.recipes.plan import Plan

HEADLINES = (
    "start.ref",
    "objective",
    "method",
    "preference.beta",
    "curated.mix",
    "curated.part",
    "data.share",
    "data.order",
    "budget.tokens",
    "optim.batch_tokens",
    "schedule.kind",
    "schedule.lr",
    "schedule.warmup",
    "optim.settle",
    "keep.general",
    "context",
    "data.long_context",
    "long.rope",
    "memory.micro_tokens",
)
"""What most people want to see; `--all` shows every value of the plan."""

SOURCES = ("source", "role", "tokens", "share", "read", "epochs")
VALUES = ("value", "", "because")
"""Headings of the two tables."""


def print_explanation(found: Explanation, console: Console, everything: bool = False) -> None:
    """Print for people; sizes in decimal units, ≈ before what was estimated."""
    console.print(Text(f"{found.name}: what this run would do", style="bold"))
    trainings = (found, *found.later)
    for number, one in enumerate(trainings, 1):
        if found.later:
            console.print(Text(f"training {number} of {len(trainings)}", style="bold"))
        if one.plan is not None:
            guessed = Text("\n".join([*guesses(one), ""]), "dim")
            shown = Text(course_lines(one.plan))
            noted = Text("".join(f"\nnote: {line}\n" for line in one.notes))
            parts = (_sources(one), guessed, _values(one.plan, everything), Text(), shown, noted, _costs(one))
            console.print(Padding(Group(*parts), 1))
    if told := total_time(trainings):
        console.print(Text(told, style="bold"))
    for problem in found.problems:
        console.print(Text.assemble(("refused  ", "bold red"), str(problem)), highlight=False, soft_wrap=True)
    if found.can_run:
        console.print(Text("nothing is refused: `bloomery run` will start", style="green"))


def source_rows(found: Explanation) -> list[list[str]]:
    """The table of sources under `SOURCES`."""
    return [
        [row.name, row.role, _count(row), f"{row.share:.1%}", f"{row.used:,}", _epochs(row.epochs)]
        for row in found.sources
    ]


def guesses(found: Explanation) -> list[str]:
    """A line for each source whose columns were guessed."""
    return list(filter(None, (guess(row.name, row.columns) for row in found.sources)))


def _sources(found: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in SOURCES:
        table.add_column(heading, justify="left" if heading in ("source", "role") else "right")
    return _filled(table, source_rows(found))


def _count(row: SourceRow) -> str:
    return "?" if row.tokens is None else f"{'' if row.exact else '≈ '}{row.tokens:,}"


def _epochs(epochs: float | None) -> str:
    return "?" if epochs is None else f"{epochs:.2f}"


def value_rows(plan: Plan, everything: bool = False) -> list[list[str]]:
    """The table of values under `VALUES`: the headlines, or all of the plan."""
    shown = [*HEADLINES, *(key for key in plan.values if key.startswith("scaffold."))]
    keys = list(plan.values) if everything else [key for key in shown if key in plan.values]
    chosen = [(key, plan.values[key]) for key in keys]
    return [[key, _short(v.value), f"{v.origin}: {v.why}" if v.why else v.origin] for key, v in chosen]


def _values(plan: Plan, everything: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    value, what, because = VALUES
    table.add_column(value, no_wrap=True)
    table.add_column(what, max_width=40, overflow="fold")
    table.add_column(because, style="dim")
    return _filled(table, value_rows(plan, everything))


def _short(value: Any) -> str:
    """A value in few characters; the JSON form has all of it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def cost_rows(found: Explanation) -> list[list[str]]:
    """What a training takes: steps, and memory, disk and time where they are known."""
    assert found.plan is not None
    arms = ", ".join(f"{arm.name} {arm.steps:,}" for arm in found.plan.arms)
    seeds = len(found.plan.get("seeds"))
    rows = [["steps", arms + (f", each with {seeds} seeds" if seeds > 1 else "")]]
    if found.can_run:
        rows += [["stages", line] for line in stage_lines(found.plan)]
    if fetched := _fetched(found.plan):
        rows.append(["fetch", f"{fetched} from the Hub when the run starts; memory and time are known then"])
    if found.memory is not None:
        limit = f" of {_bytes(found.limit)} that may be taken" if found.limit is not None else ""
        rows.append(["memory", f"≈ {_bytes(found.memory.total)}{limit}"])
    if found.disk is not None:
        rows.append(["disk", f"≈ {_bytes(found.disk)} at most"])
    if found.seconds is not None and found.machine is not None:
        rows.append(["time", f"≈ {_duration(found.seconds)} on {found.machine.name}"])
    return rows


def total_time(trainings: Sequence[Explanation]) -> str:
    """Time of several trainings together; nothing for a single one, or where one is not known."""
    known = [one.seconds for one in trainings if one.seconds is not None]
    if len(trainings) < 2 or len(known) < len(trainings):
        return ""
    return f"all {len(trainings)} trainings: ≈ {_duration(sum(known))}"


def _fetched(plan: Plan) -> str:
    """The Hub model that is not here yet, with its revision; nothing where there is none."""
    if plan.get("start.folder") or not plan.get("start.repo"):
        return ""
    return f"{plan.get('start.repo')} at {plan.get('start.revision') or 'main'}"


def _costs(found: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    return _filled(table, cost_rows(found))


def _filled(table: Table, rows: list[list[str]]) -> Table:
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _bytes(count: int) -> str:
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def _duration(seconds: float) -> str:
    for scale, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.0f} {unit}"
    return f"{seconds:.0f} seconds"
