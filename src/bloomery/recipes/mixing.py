"""Which sources a run reads and in which shares, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.recipes.data_section import SharedSource, absolute
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Source

OWN = "own"
"""Name of a curated mix that the recipe lists itself."""

FLOOR = 0.01
"""Least share of curated tokens where there are any, in every method: what stops forgetting (Bethune et al., arXiv
2502.06042), and still helps the domain (Kotha and Liang, arXiv 2603.04964)."""


def domain_sources(loaded: Loaded, shapes: Mapping[str, str]) -> list[Source]:
    """The recipe's own sources, with absolute paths."""
    specs = loaded.recipe.data.domain
    return [
        of_recipe(loaded, spec, name, "domain", shapes) for name, spec in zip(source_names(specs), specs, strict=True)
    ]


def of_recipe(
    loaded: Loaded, spec: SharedSource, name: str, role: Literal["domain", "curated"], shapes: Mapping[str, str]
) -> Source:
    """A source of the recipe's, `domain` or `curated`, called `name`; its shape where it was looked at."""
    described = with_policy(absolute(spec_of(spec), loaded.base) | {"name": name}, loaded)
    shape = shapes.get(name, "text" if spec.as_text else spec.shape)
    found = Source(name, role, described, spec.share, shape=shape, licence=spec.licence, category=spec.category)
    return replace(found, long=spec.long)


def with_policy(spec: dict[str, Any], loaded: Loaded) -> dict[str, Any]:
    """`data.overlong` is for every source that does not say it itself."""
    policy = loaded.recipe.data.overlong
    return spec if policy is None or "overlong" in spec else {**spec, "overlong": policy}


def by_category(sources: Sequence[Source], parts: Mapping[str, float]) -> list[Source]:
    """Curated sources by the parts of their categories: within one they keep their proportions, others are left out."""
    found = []
    for source in sources:
        alike = [s for s in sources if s.kind == source.kind]
        whole = sum(s.share or 0.0 for s in alike)
        own = 1 / len(alike) if whole == 0 else (source.share or 0.0) / whole
        if parts.get(source.kind):
            found.append(replace(source, share=parts[source.kind] * own))
    return found


def spec_of(spec: Any) -> dict[str, Any]:
    """A source as a mapping of what was set to read it: without its share, and all that is said about it."""
    about = {"share", "category", "licence", "long"}
    found: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True, exclude=about)
    return found


def source_names(specs: Sequence[SourceSpec]) -> list[str]:
    """A distinct name for each source: its label; repeats are numbered."""
    names: list[str] = []
    for label in (spec.label for spec in specs):
        count = sum(name.partition("#")[0] == label for name in names)
        names.append(f"{label}#{count + 1}" if count else label)
    return names


def check_names(loaded: Loaded, sources: Sequence[Source]) -> None:
    """Refuse a domain source that is called like a curated one: shares and row order go by name."""
    curated = {source.name for source in sources if source.role == "curated"}
    for place, source in enumerate(s for s in sources if s.role == "domain"):
        if source.name in curated:
            raise InputError(
                f"a domain source and a curated one are both called `{source.name}`",
                where=loaded.place(f"data.domain.{place}"),
                fix="give the domain source another `name`",
            )


def shares(sources: Sequence[Source], domain: float, tokens: Mapping[str, float]) -> dict[str, float]:
    """Fraction of all tokens by source: `domain` over the domain's sources, the rest over the curated ones.

    Inside a role, given shares hold; what they leave is divided in proportion to `tokens`. Empty
    sources get nothing. A role without sources leaves everything to the other one.
    """
    roles = {role: [s for s in sources if s.role == role] for role in ("domain", "curated")}
    if not roles["curated"]:
        domain = 1.0
    if not roles["domain"]:
        domain = 0.0
    found: dict[str, float] = {}
    for role, part in (("domain", domain), ("curated", 1 - domain)):
        if part > 0:
            found |= {name: part * share for name, share in _within(roles[role], tokens).items()}
    return {name: share for name, share in found.items() if share > 0}


def _within(sources: Sequence[Source], tokens: Mapping[str, float]) -> dict[str, float]:
    """Shares of one role's sources, summing to 1."""
    given = {s.name: s.share for s in sources if s.share is not None}
    free = {s.name: max(0.0, tokens.get(s.name, 0.0)) for s in sources if s.share is None}
    left = 1 - sum(given.values())
    if not free or sum(free.values()) == 0:
        total = sum(given.values())
        if total <= 0:
            return {name: 1 / len(free) for name in free}
        return {name: share / total for name, share in given.items()}
    whole = sum(free.values())
    return given | {name: max(0.0, left) * count / whole for name, count in free.items()}
