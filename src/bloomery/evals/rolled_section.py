"""What a report says of a training by rewards: its course, its alarms, and held-out tasks before and after."""

from __future__ import annotations

from collections.abc import Iterator

from bloomery.evals.html import Child, Markup, el
from bloomery.evals.measures import Difference, differences
from bloomery.evals.report import Report
from bloomery.evals.rolled import Rolled
from bloomery.evals.rolled_chart import rolled_chart
from bloomery.evals.sections import table
from bloomery.evals.wording import number

BESIDE = ("reward", "turns", "unscorable")
"""Figures of tasks in environments that stand beside how often they were done."""
NAMES = ["Held-out tasks", "Examples", "Before", "After", "Change", "95 % interval"]


def rolled_section(report: Report) -> Markup | None:
    """The section of the page; None where nothing was learned from rewards."""
    if report.rolled is None:
        return None
    rows: list[list[Child]] = [[*row] for row in passed(report)]
    lead = [el("p", line, class_="lead") for line in lines(report.rolled)]
    held = table("Held-out tasks before and after", NAMES, rows) if rows else None
    return el("section", el("h2", "Learning from rewards"), lead, el("figure", rolled_chart(report.rolled)), held)


def lines(rolled: Rolled) -> Iterator[str]:
    """What is said of it: where it began, how it went, what was wrong."""
    if rolled.base:
        yield f"The start: {rolled.base}."
    yield rolled.said
    for step, said in rolled.alarms:
        yield f"Alarm at step {step:,}: {said}."


def passed(report: Report) -> list[list[str]]:
    """pass@1 and pass@k of the suites that have them, and what environments tell beside, before and after, as cells."""
    games = {suite.name for suite in report.evaluations[0].suites.values() if suite.kind == "environment"}
    found = differences(*report.evaluations, report.comparison.draws)
    return [_row(one) for one in found if one.name.startswith("pass@") or (one.suite in games and one.name in BESIDE)]


def _row(one: Difference) -> list[str]:
    named, change = [f"{one.suite}, {one.name}", f"{one.examples:,}"], one.change
    if one.name in ("reward", "turns"):
        bounds = f"[{number(change.low, 2)}, {number(change.high, 2)}]"
        return [*named, number(one.before, 2), number(one.after, 2), number(change.estimate, 2, True), bounds]
    bounds = f"[{number(100 * change.low, 1)}, {number(100 * change.high, 1)}]"
    return [*named, f"{one.before:.1%}", f"{one.after:.1%}", f"{100 * change.estimate:+.1f} points", bounds]
