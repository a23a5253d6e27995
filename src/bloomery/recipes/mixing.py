"""Which sources a run reads and in which shares, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from bloomery.core.errors import InputError, nearest
from bloomery.data.config import SourceSpec
from bloomery.families.registry import Family
from bloomery.families.schema import CuratedSource
from bloomery.recipes.data_section import SharedSource, absolute
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Source, Value
from bloomery.recipes.start import Start

OWN = "own"
"""Name of a curated mix that the recipe lists itself."""


def domain_sources(loaded: Loaded, shapes: Mapping[str, str]) -> list[Source]:
    """The recipe's own sources, with absolute paths."""
    specs = loaded.recipe.data.domain
    return [
        _of_recipe(loaded, spec, name, "domain", shapes) for name, spec in zip(source_names(specs), specs, strict=True)
    ]


def _of_recipe(
    loaded: Loaded, spec: SharedSource, name: str, role: Literal["domain", "curated"], shapes: Mapping[str, str]
) -> Source:
    described = absolute(spec_of(spec), loaded.base) | {"name": name}
    return Source(name, role, _with_policy(described, loaded), spec.share, shape=shapes.get(name, spec.shape))


def _with_policy(spec: dict[str, Any], loaded: Loaded) -> dict[str, Any]:
    """`data.overlong` is for every source that does not say it itself."""
    policy = loaded.recipe.data.overlong
    return spec if policy is None or "overlong" in spec else {**spec, "overlong": policy}


def curated_sources(loaded: Loaded, family: Family | None, start: Start, objective: str) -> tuple[Value, list[Source]]:
    """(name of the mix, its sources): the recipe's choice, else the family's for the stage."""
    chosen = loaded.recipe.data.curated
    if chosen.sources is not None:
        return Value(OWN, "user"), _own(loaded, chosen.sources)
    if chosen.mix == "none":
        return Value(None, "user"), []
    if family is None:
        return Value(
            None, "derived", "a model without a family has no curated data; list your own under `data.curated`"
        ), []
    name, value = _mix_name(loaded, family, start, objective)
    if name is None:
        return value, []
    sources = [_of_family(source, family, loaded) for source in family.mix(name)]
    if chosen.categories is not None:
        sources = _by_category(loaded, sources, chosen.categories, name)
    return value, sources


def _mix_name(loaded: Loaded, family: Family, start: Start, objective: str) -> tuple[str | None, Value]:
    asked = loaded.recipe.data.curated.mix
    if asked != "auto":
        if asked not in family.mixes:
            raise InputError(
                f"the family `{family.name}` has no curated mix `{asked}`{nearest(asked, family.mixes)}",
                where=loaded.place("data.curated"),
                fix="use `auto`, `none` or one of the family's mixes",
            )
        return asked, Value(asked, "user")
    posts = [n for n, c in family.file.checkpoints.items() if c.stage == "post" and family.mix_name(n)]
    if objective != "text" and start.stage != "post" and posts:
        name = family.mix_name(posts[-1])
        return name, Value(name, "family", "fine-tuning is blended with the family's conversations")
    if start.mix is None:
        return None, Value(None, "family", f"the family has no curated data for `{start.ref}`")
    return start.mix, Value(start.mix, "family", f"the family's mix for `{start.ref}`")


def _of_family(source: CuratedSource, family: Family, loaded: Loaded) -> Source:
    spec = _with_policy(absolute(source.spec(), family.folder), loaded)
    return Source(source.name, "curated", spec, source.share, source.tokens, source.shape or "auto", source.licence)


def _own(loaded: Loaded, specs: Sequence[SharedSource]) -> list[Source]:
    return [
        _of_recipe(loaded, spec, name, "curated", {}) for name, spec in zip(source_names(specs), specs, strict=True)
    ]


def _by_category(loaded: Loaded, sources: list[Source], asked: Mapping[str, float], mix: str) -> list[Source]:
    names = {source.name: source for source in sources}
    for category in asked:
        if category not in names:
            raise InputError(
                f"the curated mix `{mix}` has no category `{category}`{nearest(category, names)}",
                where=loaded.place(f"data.curated.{category}"),
                fix=f"its categories are {', '.join(names)}",
            )
    kept = {name: source for name, source in names.items() if asked.get(name)}
    return [replace(source, share=asked[name]) for name, source in kept.items()]


def spec_of(spec: Any) -> dict[str, Any]:
    """A source as a mapping of what was set, without the share."""
    found: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True, exclude={"share"})
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
