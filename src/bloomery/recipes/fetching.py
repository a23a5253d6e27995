"""`bloomery families fetch`: the curated data of a stage in the cache, for runs without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from bloomery.core.errors import InputError
from bloomery.core.hub import address_parts
from bloomery.core.secret import Secret
from bloomery.data.config import SourceSpec
from bloomery.data.hubfiles import described, members
from bloomery.data.origin import files_of
from bloomery.data.stream import Stream, filled, opened
from bloomery.families.registry import Family
from bloomery.families.schema import CuratedSource
from bloomery.models.hub import fetch
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.data_section import absolute
from bloomery.recipes.streaming import part, stage_mix

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Progress = Callable[[str, int, Stream], None]
"""Called with a source's name, the tokens that are wanted of it, and its stream, whenever more of it is here."""


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache holds of one curated source; `whole` where that is all of it. `disk` is in bytes."""

    mix: str
    source: str
    origin: str
    commit: str | None
    tokens: int
    rows: int
    disk: int
    whole: bool
    licence: str | None

    @classmethod
    def of(cls, mix: str, source: CuratedSource, stream: Stream) -> Cached:
        """What a stream holds; the family file's word on the licence goes before that of the data set's card."""
        return cls(
            mix,
            source.name,
            source.hf or stream.spec.remote[0],
            stream.spec.revision if source.hf else None,
            stream.tokens,
            sum(piece.rows for piece in stream.pieces),
            stream.disk,
            stream.ended,
            source.licence or stream.licence,
        )


def fetch_mix(family: Family, stage: str | None, tokens: int, token: Secret | None, progress: Progress) -> list[Cached]:
    """Put about `tokens` tokens of a stage's curated mix into the cache, in the shares of its sources.

    `stage` left out is the one that `start: auto` falls back to; a mix can be named too. Raises `InputError` for a
    stage without curated data, and for what cannot be fetched; what came before that stays.
    """
    mix, sources = mix_of(family, stage)
    found = []
    for source, spec in remote_sources(family, sources):
        if token is not None and spec.token is None:
            spec = spec.model_copy(update={"token": token})
        wanted = part(source.share * tokens)
        stream = filled(spec, wanted, cache_dir(), partial(progress, source.name, wanted))
        progress(source.name, wanted, stream)
        found.append(Cached.of(mix, source, stream))
    return found


def fetch_weights(family: Family, stage: str | None, token: Secret | None) -> str:
    """The folder of a stage's weights, fetched into the Hub's cache where they lie on the Hub."""
    checkpoint = family.checkpoint(_stage(family, stage), "--stage ")
    if checkpoint.folder is not None:
        return str(family.file_of(checkpoint.folder))
    return str(fetch(str(checkpoint.repo), checkpoint.commit or checkpoint.revision, token))


def in_cache(family: Family) -> list[Cached]:
    """What is in the cache of every curated source of a family. Uses no network."""
    stages = (stage_mix(family, stage) for stage in family.file.checkpoints)
    mixes = {**family.mixes, **{name: sources for name, sources in stages if name}}
    held = []
    for mix, sources in mixes.items():
        for source, spec in remote_sources(family, sources):
            stream = opened(spec, cache_dir())
            if stream is not None and stream.pieces:
                held.append(Cached.of(mix, source, stream))
    return held


def rows_on_hub() -> Callable[[HfApi, CuratedSource, str, str], list[str]]:
    """Finds the files of a curated source in a data set, as a run would; each data set is looked at once.

    What is returned raises `InputError` where there are none, and what the client raises.
    """
    look = cache(described)

    def found(api: HfApi, source: CuratedSource, repo: str, commit: str) -> list[str]:
        there = look(api, repo, commit)
        if source.hf:
            return members(there, source.config, source.split or SourceSpec.model_fields["split"].default)
        paths = [source.path] if isinstance(source.path, str) else source.path or []
        named = [(path, address_parts(path)) for path in paths if path.startswith("hf://")]
        return [name for path, (own, _, glob) in named if own == repo for name in files_of(there, path, glob)]

    return found


def remote_sources(family: Family, sources: Iterable[CuratedSource]) -> Iterator[tuple[CuratedSource, SourceSpec]]:
    """The sources of a mix that lie on other machines, as a run reads them."""
    for source in sources:
        spec = SourceSpec.model_validate({**absolute(source.spec(), family.folder), "name": source.name})
        if spec.streamable:
            yield source, spec


def mix_of(family: Family, stage: str | None) -> tuple[str, list[CuratedSource]]:
    """(name, sources) of the curated mix of a stage. Raises `InputError` that names the stages that have one."""
    named = _stage(family, stage)
    if named in family.mixes:
        return named, family.mix(named)
    family.checkpoint(named, "--stage ")  # a name that is no stage at all is refused with the nearest one
    mix, sources = stage_mix(family, named)
    if mix is None:
        known = [name for name in family.file.checkpoints if family.mix_name(name)]
        fix = f"use --stage {' or '.join(known)}" if known else "name general data of your own under `data.curated`"
        raise InputError(f"the family `{family.name}` has no curated data for `{named}`", fix=fix)
    return mix, sources


def _stage(family: Family, stage: str | None) -> str:
    return stage or family.file.default_start or list(family.file.checkpoints)[-1]
