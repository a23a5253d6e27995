"""What a recipe says about one source. Imports neither numpy nor tokenizers: `explain` and `--help` stay fast."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from bloomery.core.quantity import parse_tokens
from bloomery.core.secret import Secret

Shape = Literal["auto", "text", "messages", "prompt", "instruction", "preference", "judged", "task"]
Format = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "text"]
Overlong = Literal["auto", "split", "drop", "truncate"]


_TOKENS = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "examples": ["50M tokens"]}]}
Take = Annotated[int, BeforeValidator(partial(parse_tokens, key="take")), WithJsonSchema(_TOKENS)]


class Signals(BaseModel):
    """What votes, removals and reactions say about a text, as a stated mapping to labels."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    text: str = "text"
    """Column of the text."""
    ask: str = ""
    """Question shown behind it, such as `toxic?`."""
    context: list[str] = []
    """Columns shown before it, a `name: value` line each: thread, rule, earlier action."""
    prior: dict[str, float] = Field(min_length=2)
    """Label -> evidence for it before any signal: how many votes a row's own signals are weighed against."""
    weights: dict[str, dict[str, float]] = Field(min_length=1)
    """Signal (a column, or `reactions.angry` inside one) -> label -> what one of it is worth."""

    @model_validator(mode="after")
    def _known_labels(self) -> Signals:
        numbers = [*self.prior.values(), *(w for one in self.weights.values() for w in one.values())]
        if min(numbers) < 0:
            raise ValueError("evidence below 0 cannot be weighed; count it for the other label")
        for name, weights in self.weights.items():
            if unknown := sorted(set(weights) - set(self.prior)):
                raise ValueError(f"`weights.{name}` names `{unknown[0]}`, which `prior` does not")
        return self


class SourceSpec(BaseModel):
    """One source of rows: exactly one of `path`, `builtin` and `hf`."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    path: str | list[str] | None = None
    """File, folder or glob, relative to the recipe's folder; `hf://owner/name/file`, `s3://bucket/key` and the like are
    remote."""
    builtin: str | None = None
    """Name of a source that Bloomery generates, such as `documentation` or `skills`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the builtin source, plain JSON."""
    hf: str | None = None
    """A dataset repository of the Hugging Face Hub, `owner/name`; downloaded once, then read from the cache."""
    config: str | None = None
    """Configuration (subset) of the Hub dataset: the folder or file prefix its files share."""
    split: str = "train"
    """Split of the Hub dataset; with `take` also `all` of them."""
    revision: str | None = None
    """Commit, tag or branch of the Hub dataset; left out: its main branch, resolved to a commit in the receipt."""
    take: Take | None = None
    """About how many tokens of a remote source are fetched and read, in an order that mixes its files; the rest is
    left where it is. Left out: curated sources as much as the run needs, your own whole."""
    token: Secret | None = None
    """Access token for a gated or private Hub dataset, as `{env: NAME}`. Left out: that of HF_TOKEN or
    `hf auth login`."""
    name: str | None = None
    """Name of the source in shares and receipts; seeds its row order. Left out: file name or builtin."""
    shape: Shape = "auto"
    """What a row is; `auto` reads it off the columns of the first row and says so."""
    signals: Signals | None = None
    """Rows have no labels but signals, such as `{ask: "toxic?", prior: {"yes": 1, "no": 9}, weights: {removed: {"yes":
    5}, likes: {"no": 0.2}}}`; each is trained with a label drawn by its soft label."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column, such as `{prompt: question, response: answer}`. Left out: guessed by name and shown."""
    format: Format = "auto"
    """File format; `auto` goes by the extension."""
    as_text: bool = False
    """Conversations and pairs as plain text without a chat's special tokens, all of it trained: for stages before
    fine-tuning, where those tokens would spoil the model as a base (Olmo 3, arXiv 2512.13961)."""
    overlong: Overlong = "auto"
    """Rows longer than the context: `auto` splits text and drops conversations, counted in the receipt."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """A row that cannot be used stops the run with its file and line, or is skipped and counted."""
    drop_limit: float = Field(default=0.01, ge=0, le=1)
    """Largest fraction of rows that may be dropped, skipped or cut short before the run refuses (1 %: our choice)."""

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSpec:
        given = [key for key in ("path", "builtin", "hf") if getattr(self, key)]
        if len(given) != 1:
            what = "none of them" if not given else " and ".join(given)
            raise ValueError(f"a source needs exactly one of `path`, `builtin` and `hf`; {what} is set")
        if self.options and not self.builtin:
            raise ValueError("`options` belongs to a `builtin` source; remove it")
        if self.take and not self.streamable:
            raise ValueError("`take` belongs to a source on another machine; remove it")
        return self

    @property
    def label(self) -> str:
        """The source's name: `name`, else the builtin's or repository's name, else the first file's name."""
        if self.name:
            return self.name
        if self.builtin or self.hf:
            return str(self.builtin or self.hf)
        first = self.path if isinstance(self.path, str) else (self.path or [""])[0]
        stem = PurePosixPath(first).name.split(".")[0]
        return stem if stem and not set(stem) & set("*?[") else PurePosixPath(first).parent.name or "data"

    @property
    def paths(self) -> list[str]:
        """The `path` key as a list; empty for other origins."""
        if self.path is None:
            return []
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @property
    def streamable(self) -> bool:
        """Whether all of it lies on other machines, so that a part of it can be fetched."""
        return self.hf is not None or (bool(self.paths) and all("://" in path for path in self.paths))

    @property
    def remote(self) -> list[str]:
        """Addresses of what lies on other machines, with the revision where it is set; empty for other origins."""
        if self.hf:
            return [f"hf://{self.hf}@{self.revision}" if self.revision else f"hf://{self.hf}"]
        return [path for path in self.paths if "://" in path]
