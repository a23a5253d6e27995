"""The model folder of a run: the trained weights with a card that says what they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import MANIFEST, building_folder, read_json, verify_folder, write_json, write_text
from bloomery.lineage.card import CardFacts, Measure, SourceShare, model_card
from bloomery.lineage.index import ancestry
from bloomery.lineage.parents import public_name
from bloomery.lineage.provenance import versions
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.blend_checks import stand_in
from bloomery.recipes.plan import Plan

_REPORT = "Read the report beside the run for intervals and for what was not measured."


def publish_model(folder: RunFolder, plan: Plan, target: Path) -> Path:
    """Make `target` from the run's weights, with its card and data receipt; it appears whole or not at all.

    Raises `InputError` when the run has no weights yet, `DamagedError` when they changed on disk.
    """
    weights = folder.path / "weights"
    if not weights.is_dir():
        raise InputError("the run is not trained yet", where=Where(folder.path), fix=f"bloomery resume {folder.name}")
    verify_folder(weights)
    with building_folder(target, {"kind": "model", "run": folder.name}) as building:
        for path in sorted(p for p in weights.rglob("*") if p.is_file() and p.name != MANIFEST):
            place = building / path.relative_to(weights)
            place.parent.mkdir(parents=True, exist_ok=True)
            if target == folder.model:
                _link(path, place)
            else:
                shutil.copyfile(path, place)  # the user's own, who may change it
        write_text(building / "README.md", model_card(card_facts(folder, plan)))
        write_json(building / folder.receipt.name, _public_receipt(read_json(folder.receipt)))
    return target


def _public_receipt(receipt: dict[str, Any]) -> dict[str, Any]:
    """The receipt as it may travel with a model: counts by source, without file names or words out of rows."""
    private = ("columns", "store", "identity", "remote", "fetched")
    return {**receipt, "sources": {name: _counts(source, private) for name, source in receipt["sources"].items()}}


def _counts(source: dict[str, Any], private: tuple[str, ...]) -> dict[str, Any]:
    from bloomery.data.receipt import GONE

    reasons: dict[str, int] = source["rows"]["dropped"]
    given_way = {GONE: reasons[GONE]} if GONE in reasons else {}
    unusable = sum(reasons.values()) - sum(given_way.values())  # the reasons quote rows
    rows = {**source["rows"], "dropped": {**({"unusable": unusable} if unusable else {}), **given_way}}
    return {key: value for key, value in source.items() if key not in private} | {"rows": rows}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # the same bytes once on disk; neither is ever written to again
    except OSError:
        shutil.copyfile(source, target)


def card_facts(folder: RunFolder, plan: Plan) -> CardFacts:
    """What the card of a run's model says."""
    report = read_json(folder.report()) if folder.report().is_file() else {}
    chain = [public_name(name) for name in ancestry(folder.path.parent, folder.name)]
    return CardFacts(
        name=folder.name,
        licence=str(plan.get("licence") or "unknown"),
        base_model=chain[0] if chain else public_name(plan.get("start.ref")),
        ancestry=chain,
        blend=_blend(folder, plan),
        measures=_measures(report),
        training=_training(plan),
        versions=versions(),
        verdict=_verdict(report),
        limits=[*([said] if (said := stand_in(plan)) else []), _REPORT],
    )


def _named(against: str) -> str:
    """What a budget was judged against, without a folder's path."""
    role, comma, ref = against.rpartition(", ")
    return f"{role}{comma}{public_name(ref)}"


def _measures(report: dict[str, Any]) -> list[Measure]:
    """Every group's figure; a relative change of bits per byte is turned into bits per byte again."""
    found = []
    for name, change in report.get("groups", {}).items():
        before, after, bits = change["before"], change["after"], change["kind"] == "bpb"
        if before is None or after is None:
            continue
        scale = before if bits else 1.0
        low, high = (
            None if change["change"][end] is None else scale * change["change"][end] for end in ("low", "high")
        )
        unit = "bits per byte" if bits else "score"
        found.append(Measure(name, unit, before, after, low, high, change["examples"]))
    return found


def _verdict(report: dict[str, Any]) -> str:
    if not report.get("keep"):
        return "none was set"
    budgets = ", ".join(
        f"{kept['name']} {kept['budget']:.3g} against {_named(kept['against'])}" for kept in report["keep"]
    )
    return f"{report['status']} ({budgets})"


def _training(plan: Plan) -> dict[str, str | int | float]:
    keys = (
        "method",
        "objective",
        "budget.tokens",
        "budget.steps",
        "schedule.kind",
        "schedule.lr",
        "schedule.anneal_by",
        "context",
    )
    return {key: plan.get(key) for key in keys}


def _blend(folder: RunFolder, plan: Plan) -> list[SourceShare]:
    receipt: dict[str, Any] = read_json(folder.receipt)["sources"]
    asked = plan.arm().segments[-1]["share"]
    return [
        SourceShare(
            source.name,
            asked.get(source.name, 0.0),
            receipt[source.name].get("taken", {}).get("share", 0.0),
            receipt[source.name].get("taken", {}).get("tokens", 0),
            receipt[source.name].get("taken", {}).get("epochs", 0.0),
            source.role == "curated",
            source.licence or "not stated",
        )
        for source in plan.sources
    ]
