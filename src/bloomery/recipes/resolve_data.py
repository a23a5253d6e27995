"""The plan's data: sources, domain share, context and what phases ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bloomery.core.errors import InputError
from bloomery.families.registry import Family
from bloomery.recipes import defaults
from bloomery.recipes.curated import curated_sources
from bloomery.recipes.curriculum import order_values
from bloomery.recipes.given import as_set, or_default
from bloomery.recipes.load import Loaded
from bloomery.recipes.long_context import long_values
from bloomery.recipes.mixing import check_names, domain_sources
from bloomery.recipes.plan import Value
from bloomery.recipes.sample import Sample
from bloomery.recipes.start import Start


def data_values(
    loaded: Loaded, family: Family | None, start: Start, objective: str, samples: Mapping[str, Sample]
) -> dict[str, Value]:
    """Everything about data that needs no token counts. Raises `InputError` naming the recipe's line."""
    data = loaded.recipe.data
    domain = domain_sources(loaded, {name: sample.shape for name, sample in samples.items()})
    mix, curated = curated_sources(loaded, family, start, objective)
    check_names(loaded, [*domain, *curated])
    context = _context(loaded, start)
    long = long_values(loaded, start, [*domain, *curated], context.value)
    return long | {
        "context": context,
        "sources": Value([asdict(source) for source in [*domain, *curated]], "user" if domain else "family"),
        "curated.mix": mix,
        "data.share": _domain_share(loaded, bool(domain), bool(curated)),
        **order_values(loaded),
        "data.holdout": or_default(loaded, "data.holdout", data.holdout, defaults.HOLDOUT, "2 % of the documents"),
        "data.holdout_least": Value(defaults.HOLDOUT_LEAST, "stage default", "where there are that many"),
        "data.repetition_cap": as_set(loaded, "data.repetition_cap", data.repetition_cap),
        "asked.phases": as_set(loaded, "phases", [_phase(phase) for phase in loaded.recipe.phases]),
    }


def _phase(phase: Any) -> dict[str, Any]:
    length = {phase.length.unit: phase.length.value}
    return {"name": phase.name, "length": length, "share": phase.share, "curated": phase.curated}


def _context(loaded: Loaded, start: Start) -> Value:
    asked, own = loaded.recipe.data.context, start.context
    if start.configuration and start.kind == "scaffold":
        return Value(own, "user") if asked else Value(own, "derived", "the empty model's, by its width")
    if asked is None:
        return defaults.context(own)
    if own is not None and start.kind in ("run", "step"):  # whose rows may have been shorter than what the model takes
        own = max(own, start.config().get("max_position_embeddings") or 0)
    if own is not None and asked > own:
        raise InputError(
            f"`data.context: {asked}` is longer than the {own} tokens that `{start.ref}` was made for",
            where=loaded.place("data.context"),
            fix=f"use at most {own}, or mark sources `long` and set `data.long_context`",
        )
    return Value(asked, "user")


def _domain_share(loaded: Loaded, domain: bool, curated: bool) -> Value:
    asked = loaded.recipe.data.share
    if not domain:
        return Value(0.0, "derived", "there is no domain data")
    if asked is not None:
        return Value(asked, "user")
    if not curated:
        return Value(1.0, "derived", "there is no curated data to mix in")
    return Value(defaults.DOMAIN_SHARE, "stage default", "half: general loss holds up to about here (arXiv 2407.17467)")
