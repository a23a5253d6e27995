"""Curated data on other machines: as much as the run takes is fetched, at one commit, and said in the receipt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.hub import forbidden
from bloomery.data.config import SourceSpec
from bloomery.data.stream import Short, Stream, filled, opened, rows_by_file
from bloomery.families.registry import Family, load_family, proxy_mix
from bloomery.families.schema import CuratedSource
from bloomery.recipes.access import unset
from bloomery.recipes.checks import tokens_by_source
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan, Source, Value
from bloomery.recipes.problem import Problem

LEAST = 100_000
"""Tokens below which no less is fetched: half a megabyte comes in a second, and a source keeps some variety."""

Say = Callable[[str], None]


def part(tokens: float) -> int:
    """How much is fetched for a need of so many tokens: rounded up to two digits, so that like runs share a store."""
    wanted = max(tokens, LEAST)
    digit = int(10 ** (math.floor(math.log10(wanted)) - 1))
    return math.ceil(wanted / digit) * digit


def takes(plan: Plan) -> dict[str, int]:
    """Tokens that are fetched of each remote curated source: what the arm that needs most takes of it, one epoch.

    A source without a share of its own counts with all that curated sources get, since its part hangs on its size.
    """
    arms = [tokens_by_source(plan, arm.name) for arm in plan.arms]
    curated = [source for source in plan.sources if source.role == "curated"]
    whole = max(sum(arm[source.name] for source in curated) for arm in arms) if curated else 0.0
    found = {}
    for source in curated:
        spec = SourceSpec.model_validate(source.spec)
        if spec.streamable:
            own = whole if source.share is None else max(arm[source.name] for arm in arms)
            found[source.name] = spec.take or part(own)
    return found


def limited(plan: Plan) -> Plan:
    """The plan with remote curated sources counted as large as the part of them that will be fetched."""
    known: Mapping[str, int] = plan.get("source_tokens")
    parts = takes(plan) if _size_known(plan) else dict.fromkeys(takes(plan), 0)
    if not parts:
        return plan
    tokens = {name: min(known.get(name) or count, count) for name, count in parts.items()}
    why = "what the run takes" if _size_known(plan) else "not known before the domain is read"
    return plan.updated(
        {
            "source_tokens": replace(plan.values["source_tokens"], value={**known, **tokens}),
            "curated.fetched": Value(parts, "derived", why),
        }
    )


def _size_known(plan: Plan) -> bool:
    """Whether the length of the run is known: in tokens, or by domain data that was looked at."""
    known = plan.get("source_tokens")
    return "epochs" not in plan.get("asked.budget") or all(
        known.get(s.name) for s in plan.sources if s.role == "domain"
    )


def check(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """What is missing in the cache where the network is forbidden, or the token that it would be fetched with."""
    if not _size_known(plan):
        return
    wanted = takes(plan)
    for source in plan.sources:
        spec = SourceSpec.model_validate(source.spec)
        if source.name not in wanted or not any(path.startswith("hf://") for path in spec.remote):
            continue
        stream, tokens = opened(spec, cache_dir()), wanted[source.name]
        if stream is not None and stream.holds(tokens):
            continue
        if not forbidden():
            yield from unset(loaded, spec.token) if spec.token else ()
        else:
            here = stream.tokens if stream else 0
            message = f"`{source.name}`: {here:,} of {tokens:,} tokens are in the cache, {tokens - here:,} are missing"
            yield Problem(f"{message}, and the network is forbidden", loaded.place("data"), _how(plan, wanted))


def fetched(plan: Plan, say: Say) -> Plan:
    """The plan with the part that the run takes of every remote curated source here, and named at its commit.

    Raises `InputError` that says how many tokens are missing where it cannot be fetched.
    """
    wanted = takes(plan)
    if not wanted:
        return plan
    sources = [asdict(_fetched(source, wanted, plan, say)) for source in plan.sources]
    return plan.updated({"sources": replace(plan.values["sources"], value=sources)})


def _fetched(source: Source, wanted: Mapping[str, int], plan: Plan, say: Say) -> Source:
    if source.name not in wanted:
        return source
    spec, tokens = SourceSpec.model_validate({**source.spec, "name": source.name}), wanted[source.name]
    there = opened(spec, cache_dir())
    if there is None or not there.holds(tokens):
        say(f"fetching {source.name}: about {tokens:,} tokens")
    try:
        stream = filled(spec, tokens, cache_dir())
    except Short as error:
        fix = f"{error.fix}; where there is a network, {_how(plan, wanted)}"
        raise InputError(error.message, where=error.where, fix=fix) from None
    pins = {"revision": stream.spec.revision} if spec.hf else {"path": stream.spec.path}
    return replace(source, spec={**source.spec, **pins, "take": tokens})


def _how(plan: Plan, wanted: Mapping[str, int]) -> str:
    """The command that puts into the cache what a run lacks."""
    family = load_family(plan.get("family")) if plan.get("family") else None
    for stage in family.file.checkpoints if family else ():
        mix, sources = stage_mix(family, stage) if family else (None, [])
        shares = {source.name: source.share for source in sources if source.share}
        if family and mix == plan.get("curated.mix") and wanted.keys() <= shares.keys():
            total = part(max(count / shares[name] for name, count in wanted.items()))
            return f"fetch it: bloomery families fetch {family.name} --stage {stage} --tokens {total}"
    return "begin the run: what it reads stays in the cache"


def stage_mix(family: Family, stage: str) -> tuple[str | None, list[CuratedSource]]:
    """(name of the mix, its sources) that training from a stage is blended with: the family's, or what stands in."""
    name = family.mix_name(stage)
    if name is not None:
        return name, family.mix(name)
    if family.file.data != "open":
        return "proxy", proxy_mix("proxy", family.checkpoint(stage).stage)
    return None, []


def receipt(spec: SourceSpec, licence: str | None) -> dict[str, Any]:
    """What a run reads of a source that is read in part: where it lies, at which commit, rows by file, licence."""
    stream = opened(spec, cache_dir())
    if stream is None or not spec.take:
        return {}
    pieces = stream.first(spec.take)
    return {"fetched": _told(stream, spec.take) | {"licence": licence or stream.licence, "files": rows_by_file(pieces)}}


def _told(stream: Stream, tokens: int) -> dict[str, Any]:
    return {"from": stream.spec.remote, "commit": stream.spec.revision, "take": tokens, "all": stream.ended}
