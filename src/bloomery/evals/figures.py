"""`report.json`: every figure of a report, no row of anybody's data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bloomery.core.intervals import LEVEL
from bloomery.evals import standings
from bloomery.evals.compare import Change, Comparison
from bloomery.evals.held import Held
from bloomery.evals.proof import Arm
from bloomery.evals.report import Report
from bloomery.evals.rolled import Rolled
from bloomery.evals.seeds import Seeds
from bloomery.evals.wording import intervals

FORMAT = 1
"""Raised when a field changes its meaning."""


def headline_figures(report: Report) -> dict[str, float]:
    """The change of each group, as lists of runs show it; one that is not a number is left out."""
    changes = {f"{name}_change": change.change.estimate for name, change in report.comparison.groups.items()}
    return {name: change for name, change in changes.items() if math.isfinite(change)}


def to_json(report: Report) -> dict[str, Any]:
    """Strict JSON: what is not a number is null."""
    start, result = report.evaluations
    found = {
        "format": FORMAT,
        "title": report.title,
        "created": report.created,
        "headline": report.headline,
        "status": report.status,
        "exit_status": report.exit_status,
        "intervals": {"level": LEVEL, "method": intervals(report.seeds), "draws": report.comparison.draws},
        "figures": headline_figures(report),
        "start": start.figures(),
        "result": result.figures(),
        "groups": {name: _change(change) for name, change in report.comparison.groups.items()},
        "changes": [_change(change) for change in report.comparison.changes],
        "keep": [dataclasses.asdict(verdict) for verdict in report.gate.verdicts],
        "proof": _proof(report),
        "arms": [_arm(arm) for arm in report.arms],
        "against_control": _groups(report.against_control),
        "from_origin": _origin(report.from_origin),
        "seeds": _seeds(report.seeds),
        "seeds_against_control": _seeds(report.control_seeds),
        "ungraded": [
            {"suite": u.suite, "model": u.model, "answers": u.answers, "of": u.of, "reason": u.public}
            for u in report.ungraded
        ],
        "judged": [dataclasses.asdict(one) for one in report.judged],
        "pairs": [standings.to_json(one) for one in report.pairs],
        "held": _held(report.held),
        "rolled": None if report.rolled is None else _rolled(report.rolled),
        "rewards": [dataclasses.asdict(one) for one in report.rewards],
        "spent": dataclasses.asdict(report.spent),
    }
    finite: dict[str, Any] = _finite(found)
    return finite


def _change(change: Change) -> dict[str, Any]:
    book = change.ledger
    extra = {"ledger": dataclasses.asdict(book) | {"examples": book.examples}} if book is not None else {}
    fields = ("name", "group", "kind", "examples", "before", "after", "unscorable")
    return {name: getattr(change, name) for name in fields} | {"change": dataclasses.asdict(change.change)} | extra


def _groups(comparison: Comparison | None) -> dict[str, Any] | None:
    return None if comparison is None else {name: _change(change) for name, change in comparison.groups.items()}


def _arm(arm: Arm) -> dict[str, Any]:
    cost = {"tokens": arm.tokens, "seconds": arm.seconds}
    return {"name": arm.name, "groups": _groups(arm.from_start), **cost, "seeds": _seeds(arm.seeds)}


def _origin(comparison: Comparison | None) -> dict[str, Any] | None:
    return None if comparison is None else {"start": comparison.before, "groups": _groups(comparison)}


def _seeds(by_group: Mapping[str, Seeds]) -> dict[str, Any]:
    return {name: dataclasses.asdict(seeds) for name, seeds in by_group.items()}


def _proof(report: Report) -> dict[str, Any] | None:
    if report.proof is None:
        return None
    kept, over = report.proof.gain_kept, report.proof.gain_kept_seeds
    return {
        "stands": report.proof.stands,
        "conditions": [dataclasses.asdict(condition) for condition in report.proof.conditions],
        "gain_kept": dataclasses.asdict(kept) if kept is not None else None,
        "gain_kept_seeds": dataclasses.asdict(over) if over is not None else None,
    }


def _held(held: Held | None) -> dict[str, Any] | None:
    if held is None:
        return None
    domain = {"asked": 1 - held.asked, "realised": 1 - held.realised}
    return {"budget": held.budget, "domain_share": domain, "looks": [dataclasses.asdict(look) for look in held.looks]}


def _rolled(rolled: Rolled) -> dict[str, Any]:
    alarms = [{"step": step, "said": said} for step, said in rolled.alarms]
    figures = {name: [list(point) for point in points] for name, points in rolled.figures.items()}
    return {"base": rolled.base, "alarms": alarms, "seconds": rolled.seconds(), "figures": figures}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
