"""What a recipe says about data: the user's own, the curated data beside it, phases with blends of their own.

A field left at None is derived by `resolve.py`; the text under a field is its description in the
JSON Schema that `bloomery schema` prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bloomery.core.errors import InputError, nearest
from bloomery.data.config import SourceSpec
from bloomery.recipes.fields import Parts, Piece, Section, Share

LEAST_REPLAY = 0.1
"""What a stage of a curriculum draws of the earlier ones, at least: without any, these are forgotten."""


class SharedSource(SourceSpec):
    """A source of rows, its part of the tokens, and what is to be known about it."""

    share: Share | None = None
    """Its part of the domain (or curated) tokens. Left out: in proportion to how many tokens it has."""
    category: str | None = None
    """What `curated` calls it and others of its kind together. Default: its name."""
    licence: str | None = None
    """What its rows may be used for, such as `CC-BY-4.0`; set against `use`, and told in the receipt."""
    long: bool = False
    """Its rows may be as long as `data.long_context`; those of all other sources keep to `data.context`."""


def as_sources(value: Any) -> Any:
    """'a.jsonl' or a list of files and mappings, as a list of mappings."""
    entries = value if isinstance(value, list) else [] if value is None else [value]
    return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]


def absolute(spec: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A copy whose file paths do not depend on the working folder; `s3://` and the like stay as they are."""
    path = spec.get("path")
    if path is None:
        return dict(spec)
    paths = [path] if isinstance(path, str) else path
    whole = [p if "://" in p else str(base / Path(p).expanduser()) for p in paths]
    return {**spec, "path": whole[0] if isinstance(path, str) else whole}


class Curated(Section):
    """Which curated data is mixed in: the family's mix, what stands in for it, categories, or sources of your own."""

    mix: str = "auto"
    """`auto` (the family's mix for the stage; `proxy` where its data is closed), `none`, the name of one of the
    family's mixes, or what stands in for it: `proxy` (open data sets), `embedded` (needs no download), `self` (sampled
    from the start checkpoint)."""
    categories: Parts | None = None
    """The categories of the mix with their parts, which sum to 100 %; a category left out gets nothing."""
    sources: list[SharedSource] | None = None
    """Your own general data in place of the family's."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"mix": value}
        if isinstance(value, list):
            return {"sources": as_sources(value)}
        if isinstance(value, dict) and value and not set(value) & set(cls.model_fields):
            return {"categories": value}
        return value


class Order(Section):
    """How the domain's rows follow each other: `shuffle`, or stages from easy to hard (a curriculum)."""

    by: Literal["shuffle", "column", "agreement", "loss"] = "shuffle"
    """What makes a row hard: a number in a `column`, how little annotators agree by a column (the share of those who
    say yes, a list of votes, or counts by label), or the start checkpoint's own loss in nats a trained token (of pairs:
    how much more the better answer costs it than the worse one)."""
    column: str | None = None
    """The column of `by: column` and `by: agreement`, which every row of the domain has."""
    hard: Literal["high", "low"] = "high"
    """Which numbers are hard, with `by: column`."""
    stages: int = Field(default=3, ge=2, le=20)
    """How many stages of about as many tokens each; rows of one difficulty are of one stage."""
    replay: Share = 0.1
    """What each stage after the first draws of the earlier ones' rows, at least 10 %. Every row is still seen as often
    as with `shuffle`."""

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "shuffle":
            message = f"`data.order: {value}` is no order{nearest(value, ['shuffle'])}"
            raise InputError(message, fix="write `shuffle`, or a mapping such as `{by: column, column: level}`")
        return {} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Order:
        given = self.model_fields_set - {"by"}
        taken = {"column": {"column", "hard", "stages", "replay"}, "agreement": {"column", "stages", "replay"}}
        if unused := sorted(given - taken.get(self.by, {"stages", "replay"} if self.by == "loss" else set())):
            message = f"`data.order.{unused[0]}` has no effect with `by: {self.by}`"
            raise InputError(message, fix=f"remove `{unused[0]}`, or change `by`")
        if self.by in ("column", "agreement") and not self.column:
            raise InputError(f"`data.order` by {self.by} names no column", fix="add `column`")
        if not LEAST_REPLAY <= self.replay < 1:
            message = f"`data.order.replay: {self.replay:.0%}`: each stage replays at least {LEAST_REPLAY:.0%}"
            raise InputError(message, fix=f"write `{LEAST_REPLAY:.0%}` or more, below 100 %; or use `order: shuffle`")
        return self


class Data(Section):
    """What the model is trained on."""

    domain: list[SharedSource] = []
    """Your data: files, globs, generated sources or Hub data sets."""
    share: Share | None = None
    """Domain tokens over all tokens, masked ones too; the rest is curated data. Default 50 % (Nova Forge's sample)."""
    curated: Curated = Curated()
    """What is blended in so that nothing is forgotten."""
    order: Order = Order()
    """`shuffle`: each source is read in its own seeded permutation, a new one each epoch. Or easy to hard in stages,
    such as `{by: column, column: level}`, with shuffled rows in each."""
    holdout: Share | None = None
    """Domain documents kept out of training, when `eval.domain` is not given. Default 2 %, at least 200 if there are
    that many."""
    overlong: Literal["split", "drop", "truncate"] | None = None
    """What happens to rows longer than the context, in sources that do not say it themselves. Default: text is split,
    conversations are dropped, because half an answer teaches to stop half-way."""
    repetition_cap: float = Field(default=4.0, gt=0)
    """Most epochs over one source; beyond about four, repeating stops helping (Muennighoff, arXiv 2305.16264)."""
    context: int | None = Field(default=None, ge=8)
    """Longest row in tokens. Default: the checkpoint's own context, at most 8,192."""
    long_context: int | None = Field(default=None, ge=16)
    """Longest row in tokens of sources that are marked `long`; the model's rotary embeddings are told where that is
    beyond what it was made for. At most 34 % of the tokens may come from such sources (Olmo 3)."""
    rope: Literal["auto", "abf", "yarn"] = "auto"
    """How they are told: `abf` raises the base frequency (arXiv 2309.16039), `yarn` scales (2309.00071). Auto: yarn
    where the model has it already, else abf."""

    @model_validator(mode="before")
    @classmethod
    def _percent_form(cls, value: Any) -> Any:
        """`{share: 50, curated: {code: 30, general: 70}}`: beside categories in percent, so is the share."""
        share = value.get("share") if isinstance(value, dict) else None
        if not isinstance(share, int | float) or isinstance(share, bool) or not _percents(value.get("curated")):
            return value
        if 0 < share <= 1:
            raise InputError(
                f"`data.share: {share:g}` beside categories in percent may mean {share:g} % or {share:.0%}",
                fix=f"write `{share:g}%` or `{share:.0%}`",
            )
        return {**value, "share": f"{share:g}%"}

    @field_validator("domain", mode="before")
    @classmethod
    def _domain_list(cls, value: Any) -> Any:
        return as_sources(value)


def _percents(curated: Any) -> bool:
    """Whether categories are written as numbers that can only be percents."""
    parts = curated.get("categories", curated) if isinstance(curated, dict) else None
    numbers = [part for part in parts.values() if isinstance(part, int | float)] if isinstance(parts, dict) else []
    return any(number > 1 for number in numbers)


class Phase(Section):
    """A part of the run with a blend of its own; best data last."""

    name: str
    """What the plan and the report call it."""
    length: Piece
    """Its part of the run's steps; all phases together make up the whole run."""
    share: Share | None = None
    """Domain share in this phase. Default: `data.share`."""
    curated: Parts | None = None
    """Categories of curated data in this phase, summing to 100 %. Default: as in `data.curated`."""
