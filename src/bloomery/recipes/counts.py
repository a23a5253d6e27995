"""Exact token counts of sources that were once tokenised, remembered so that `explain` need not estimate them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bloomery
from bloomery.core.errors import DamagedError, InputError
from bloomery.core.files import canonical_hash, read_json, sha256_file, write_json
from bloomery.data.config import SourceSpec
from bloomery.data.sources import source_files
from bloomery.recipes.curriculum import STAGES, is_staged
from bloomery.recipes.plan import Plan, Source, Value

FILE, STAGES_FILE, ROLLOUTS_FILE = "counts.json", "stages.json", "rollouts.json"


def cache_dir() -> Path:
    """Where token stores are kept: `$BLOOMERY_CACHE`, else `bloomery` in the user's cache folder."""
    own = os.environ.get("BLOOMERY_CACHE")
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(usual) / "bloomery"


def remember(plan: Plan, counts: Mapping[str, int], cache: Path) -> None:
    """Note the tokens of each source, one epoch, as counted by its token store."""
    known = _read(cache)
    tokenizer = _content(plan.get("start.tokenizer"))
    fresh = {_key(source, tokenizer): counts[source.name] for source in plan.sources if source.name in counts}
    if any(known.get(key) != count for key, count in fresh.items()):
        write_json(cache / FILE, known | fresh)


def known_counts(plan: Plan, cache: Path) -> dict[str, int]:
    """The remembered tokens of the plan's sources whose files have not changed since, by source name."""
    known = _read(cache)
    if not known:
        return {}
    tokenizer = _content(plan.get("start.tokenizer"))
    keys = {source.name: _key(source, tokenizer) for source in plan.sources}
    return {name: known[key] for name, key in keys.items() if key in known}


def remember_stages(plan: Plan, cache: Path) -> None:
    """Note the stages that the plan's sources were cut into, where its rows go from easy to hard."""
    found = plan.values.get(STAGES)
    known = _read(cache, STAGES_FILE)
    fresh = {_stages_key(s, plan): found.value[s.name] for s in plan.sources if found and s.name in found.value}
    if any(known.get(key) != stages for key, stages in fresh.items()):
        write_json(cache / STAGES_FILE, known | fresh)


def known_stages(plan: Plan, cache: Path) -> Plan:
    """The plan with the remembered stages of its domain sources, where all of them are."""
    if not is_staged(plan):
        return plan
    known = _read(cache, STAGES_FILE)
    found = {s.name: known.get(_stages_key(s, plan)) for s in plan.sources if s.role == "domain"}
    return (
        plan.updated({STAGES: Value(found, "derived", "as the last run found them")}) if all(found.values()) else plan
    )


def remember_rollouts(plan: Plan, machine: str, each: tuple[float, float], cache: Path) -> None:
    """Note (tokens sampled in, seconds taken by) one rollout of the plan's tasks by its start, on average.

    Of several runs the least time counts: what else a machine does only adds to it.
    """
    known, (tokens, seconds) = known_rollouts(plan, machine, cache), each
    noted = {_rollouts_key(plan, machine): [tokens, min(seconds, known[1]) if known else seconds]}
    write_json(cache / ROLLOUTS_FILE, _read(cache, ROLLOUTS_FILE) | noted)


def known_rollouts(plan: Plan, machine: str, cache: Path) -> tuple[float, float] | None:
    """What was noted, where a run from this start on these tasks has sampled any on a machine of this name."""
    found = _read(cache, ROLLOUTS_FILE).get(_rollouts_key(plan, machine))
    return (float(found[0]), float(found[1])) if isinstance(found, list) and len(found) == 2 else None


def _rollouts_key(plan: Plan, machine: str) -> str:
    """Changes with the start, the rows of the domain, what bounds an answer, who grades it, and who samples."""
    tokenizer = plan.get("start.tokenizer")
    domain = [_key(source, tokenizer) for source in plan.sources if source.role == "domain"]
    names = ("group", "max_tokens", "temperature", "environment", "engine", "workers", "reward")
    return canonical_hash([domain, plan.get("start.ref"), [plan.get(f"rollouts.{one}") for one in names], machine])


def _stages_key(source: Source, plan: Plan) -> str:
    """Changes with the source's rows, what they are ordered by, and which of them are trained."""
    which = [
        plan.get(key) for key in ("start.ref", "objective", "context", "data.holdout", "eval.domain", "data.order")
    ]
    return canonical_hash([_key(source, plan.get("start.tokenizer")), which, plan.section("data.order")])


def _key(source: Source, tokenizer: str | None) -> str:
    """Changes with the source's description, its files' size and time, the tokenizer, and our version."""
    spec = SourceSpec.model_validate({**source.spec, "name": None, "token": None})
    files: list[Any] = []
    if spec.paths and not any("://" in path for path in spec.paths):
        try:
            files = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in source_files(spec, Path())]
        except (InputError, OSError):
            files = ["unreadable"]
    return canonical_hash([spec.model_dump(mode="json"), files, tokenizer, bloomery.__version__])


def _content(tokenizer: str | None) -> str | None:
    """What a tokenizer is, wherever it lies: a folder may be filled anew, and a copy counts as the original."""
    file = Path(tokenizer, "tokenizer.json") if tokenizer else None
    return sha256_file(file) if file and file.is_file() else tokenizer


def _read(cache: Path, name: str = FILE) -> dict[str, Any]:
    path = cache / name
    try:
        found = read_json(path) if path.is_file() else {}
    except DamagedError:
        return {}
    return found if isinstance(found, dict) else {}
