"""Which general data a run is blended with: the family's mix, what stands in for it, or sources of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.core.files import canonical_hash
from bloomery.families.registry import PROXIES, Family, proxy_mix
from bloomery.families.schema import CuratedSource
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.data_section import absolute
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import OWN, by_category, of_recipe, source_names, with_policy
from bloomery.recipes.plan import Source, Value
from bloomery.recipes.start import Start

NONE, SELF = "none", "self"
"""Words for `data.curated` beside `auto`, the names of `PROXIES` and those of the family's mixes."""

MEANING = {
    NONE: "nothing general is replayed: what is forgotten is neither held back nor measured",
    "proxy": "proxy: open data in place of the model's own. They show whether general text like them "
    "is kept, not whether the model's own training data is",
    "embedded": "proxy: installed documentation and generated exercises in place of the model's own data. They show "
    "whether technical English and short exercises are kept, and nothing beyond them",
    SELF: "self-generated: sampled from the start checkpoint. It shows whether the model still says what it said, "
    "not whether it still knows what it rarely says",
}
"""What a blend that is not made of the model's own data can and cannot prove; said wherever the blend is."""

Chosen = tuple[Value, list[Source]]


def curated_sources(loaded: Loaded, family: Family | None, start: Start, objective: str) -> Chosen:
    """(name of the mix, its sources): the recipe's choice, else the family's for the stage.

    Raises `InputError` for a mix or category that is not there, and for replay of a start without weights.
    """
    chosen = loaded.recipe.data.curated
    value, sources = _sources(loaded, family, start, objective)
    if chosen.categories is not None:
        _refuse_unknown(loaded, sources, chosen.categories, value.value)
        sources = by_category(sources, chosen.categories)
    return value, sources


def _sources(loaded: Loaded, family: Family | None, start: Start, objective: str) -> Chosen:
    data = loaded.recipe.data
    if data.curated.sources is not None:
        specs = data.curated.sources
        names = source_names(specs)
        return Value(OWN, "user"), [
            of_recipe(loaded, spec, name, "curated", {}) for name, spec in zip(names, specs, strict=True)
        ]
    asked = data.curated.mix
    if asked == "auto":
        return _auto(loaded, family, start, objective)
    if asked == NONE:
        return Value(None, "user", MEANING[NONE]), []
    if asked == SELF:
        return Value(SELF, "user", MEANING[SELF]), [_own_words(loaded, start)]
    if asked in PROXIES:
        return Value(asked, "user", MEANING[asked]), _proxy(loaded, asked, start, objective)
    words = ["auto", NONE, SELF, *PROXIES]
    if family is None or asked not in family.mixes:
        whose = f"the family `{family.name}` has" if family else "a model without a family has"
        known = [*words, *(family.mixes if family else ())]
        raise InputError(
            f"{whose} no curated mix `{asked}`{nearest(asked, known)}",
            where=loaded.place("data.curated"),
            fix=f"use one of {', '.join(known)}",
        )
    return Value(asked, "user"), _of_family(loaded, family, asked)


def _auto(loaded: Loaded, family: Family | None, start: Start, objective: str) -> Chosen:
    """The family's mix for the stage; what stands in for it where the data is closed; else nothing."""
    if start.mix in PROXIES:
        why = f"as before `{start.ref}`. {MEANING[start.mix]}"
        return Value(start.mix, "derived", why), _proxy(loaded, start.mix, start, objective)
    if family is None:
        why = "a model without a family brings no data; `data.curated` may be proxy, embedded, self or your own sources"
        return Value(None, "derived", why), []
    posts = [n for n, c in family.file.checkpoints.items() if c.stage == "post" and family.mix_name(n)]
    name, why = start.mix, f"the family's mix for `{start.ref}`"
    if objective != "text" and start.stage != "post" and posts:
        name, why = family.mix_name(posts[-1]), "fine-tuning is blended with the family's conversations"
    if name is not None:
        return Value(name, "family", why), _of_family(loaded, family, name)
    if family.file.data != "open":
        why = f"the family's data is {family.file.data}. {MEANING['proxy']}"
        return Value("proxy", "family", why), _proxy(loaded, "proxy", start, objective)
    return Value(None, "family", f"the family has no curated data for `{start.ref}`"), []


def _of_family(loaded: Loaded, family: Family, name: str) -> list[Source]:
    return [_planned(loaded, source, absolute(source.spec(), family.folder)) for source in family.mix(name)]


def _proxy(loaded: Loaded, name: str, start: Start, objective: str) -> list[Source]:
    stage = "post" if objective != "text" else start.stage
    return [_planned(loaded, source, source.spec()) for source in proxy_mix(name, stage)]


def _planned(loaded: Loaded, source: CuratedSource, spec: Mapping[str, Any]) -> Source:
    return Source(
        source.name,
        "curated",
        with_policy(dict(spec), loaded),
        source.share,
        source.tokens,
        "text" if source.as_text else source.shape or "auto",
        source.licence,
        source.kind,
    )


def _own_words(loaded: Loaded, start: Start) -> Source:
    """Replay that the run samples from its start; until then its rows lie nowhere."""
    if start.kind == "scaffold":
        raise InputError(
            "`curated: self` is sampled from the start, and a scaffold has no weights",
            where=loaded.place("data.curated"),
            fix="use `embedded`, `proxy` or sources of your own",
        )
    rows = cache_dir() / SELF / f"{canonical_hash([start.ref, start.folder])[:16]}.jsonl"
    return Source(SELF, "curated", {"path": str(rows)}, 1.0, licence="own", category="self-generated", made="self")


def _refuse_unknown(loaded: Loaded, sources: Sequence[Source], asked: Mapping[str, float], mix: str | None) -> None:
    known = list(dict.fromkeys(source.kind for source in sources))
    for category in asked:
        if category not in known:
            raise InputError(
                f"the curated mix `{mix}` has no category `{category}`{nearest(category, known)}",
                where=loaded.place(f"data.curated.{category}") or loaded.place("data.curated"),
                fix=f"its categories are {', '.join(known) or 'none'}",
            )
