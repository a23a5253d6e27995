"""The family's generated sources, cut to what a run takes: a short run need not tokenise millions of tokens first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from bloomery.families.registry import PROXIES
from bloomery.recipes.checks import tokens_by_source
from bloomery.recipes.plan import Plan, Source, Value
from bloomery.recipes.settle import settle

SPARE = 2.0
"""Tokens kept for each that the run takes, by estimate: within the repetition cap even if that is far off."""
LEAST = 100_000
"""Tokens below which nothing is cut: they are ready in a second, and a source keeps some variety."""
SIZES = ("count", "fraction")
"""Options of generated sources that say how much of them there is."""


def trimmed(plan: Plan) -> Plan:
    """The plan with every source of the family's own mix halved as often as the run allows.

    By halves, so that runs of about one size share their token stores; a smaller cut is part of the larger one. A mix
    that the recipe names is taken whole, and so is any where the size of the user's data is not known.
    """
    tokens: dict[str, float] = plan.get("source_tokens")
    named = plan.origin("curated.mix") == "user" and plan.get("curated.mix") not in PROXIES
    if named or not all(tokens.get(s.name) for s in plan.sources if s.role == "domain"):
        return plan
    taken = [tokens_by_source(plan, arm.name) for arm in plan.arms]
    parts = {s.name: _part(s, max(arm[s.name] for arm in taken)) for s in plan.sources}
    parts = {name: part for name, part in parts.items() if part < 1}
    if not parts:
        return plan
    sources = [asdict(_cut(source, parts.get(source.name, 1.0))) for source in plan.sources]
    values = {
        "sources": replace(plan.values["sources"], value=sources),
        "curated.part": Value(parts, "derived", "what the run takes, twice over; name the mix to take it whole"),
    }
    return settle(plan.updated(values), tokens | {n: tokens[n] * part for n, part in parts.items()}, estimated=True)


def _part(source: Source, needed: float) -> float:
    """A power of two, 1 where the source stays as it is."""
    if source.role != "curated" or not source.tokens or not _size(source.spec):
        return 1.0
    wanted = max(SPARE * needed, LEAST) / source.tokens
    return min(1.0, 2.0 ** math.ceil(math.log2(wanted)))


def _cut(source: Source, part: float) -> Source:
    if part == 1:
        return source
    assert source.tokens is not None
    name, options = _size(source.spec), dict(source.spec["options"])
    options[name] = math.ceil(options[name] * part) if name == "count" else options[name] * part
    return replace(source, spec={**source.spec, "options": options}, tokens=round(source.tokens * part))


def _size(spec: Mapping[str, Any]) -> str:
    return next((name for name in SIZES if name in spec.get("options", {})), "") if spec.get("builtin") else ""
