"""One run as its folder tells it: read from files alone, so that any index can be thrown away and made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bloomery.core.errors import DamagedError
from bloomery.core.events import read_events
from bloomery.core.files import MANIFEST, read_json
from bloomery.lineage.provenance import EVENT, Start
from bloomery.lineage.rundir import RunFolder

FINISHED = "finished"
"""Event that ends a run; its fields `status` (within | broken | unproven | done) and figures."""

FAILED = "failed"
"""Event of a run that stopped itself, with `error`."""

DAMAGE = (DamagedError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, OSError)
"""What reading a file of a run raises when somebody else wrote into it."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run is and what became of it.

    `status` is `new`, `running`, `interrupted`, `failed`, or how the run finished (`done`, and where it has a
    forgetting budget `within`, `broken` or `unproven`). `created` and `finished` are seconds since the epoch.
    `model_sha256` is None until the model is exported. `figures` are the headline numbers of its report.
    """

    name: str
    path: str
    status: str
    created: float | None = None
    finished: float | None = None
    start: Start | None = None
    recipe_sha256: str | None = None
    model_sha256: str | None = None
    step: int = 0
    tokens: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    damage: str | None = None


def read_run(folder: RunFolder) -> RunRecord:
    """Read a run folder. A file that cannot be read is told in `damage`; the rest still counts."""
    facts: dict[str, Any] = {"status": "new"}
    damage: list[str] = []
    for read in (_read_events, _read_model, _read_report):
        try:
            facts |= read(folder)
        except DAMAGE as error:
            damage.append(f"{type(error).__name__}: {error}")
    return RunRecord(folder.name, str(folder.path.resolve()), damage="; ".join(damage) or None, **facts)


def read_start(folder: RunFolder) -> Start | None:
    """What a run starts from, None before it says so. Raises one of `DAMAGE` when its log cannot be read."""
    if not folder.events.is_file():
        return None
    event = next(read_events(folder.events, EVENT), None)
    return Start(**event["start"]) if event else None


def _read_events(folder: RunFolder) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if not folder.events.is_file():
        return facts
    for event in read_events(folder.events):
        facts.setdefault("created", event["time"])
        facts["step"] = max(facts.get("step", 0), int(event.get("step", 0)))
        facts["tokens"] = max(facts.get("tokens", 0), int(event.get("tokens", 0)))
        facts |= _meaning(event)
    return facts


def _meaning(event: Mapping[str, Any]) -> dict[str, Any]:
    """What one event says about the run as a whole; a resumption after an end reopens it."""
    name = event["event"]
    if name == EVENT:
        return {
            "start": Start(**event["start"]),
            "recipe_sha256": event["recipe_sha256"],
            "finished": None,
            "status": "interrupted",
        }
    if name == FINISHED:
        return {"status": event.get("status", "done"), "finished": event["time"]}
    if name == FAILED:
        return {"status": "failed", "finished": event["time"]}
    return {}


def _read_model(folder: RunFolder) -> dict[str, Any]:
    manifest = folder.model / MANIFEST
    return {"model_sha256": read_json(manifest)["self"]} if manifest.is_file() else {}


def _read_report(folder: RunFolder) -> dict[str, Any]:
    """Numbers at the top level of `figures` in report.json: what a list of runs shows."""
    path: Path = folder.report("json")
    if not path.is_file():
        return {}
    figures = read_json(path).get("figures", {})
    return {
        "figures": {k: float(v) for k, v in figures.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    }
