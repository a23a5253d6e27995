"""The family file: one YAML that says what an open model family is, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bloomery.core.errors import InputError
from bloomery.core.quantity import parse_share
from bloomery.families.lr import Count, FamilySchedule, lr_at_tokens, plasticity
from bloomery.families.suites import Suite

Share = Annotated[float, BeforeValidator(parse_share)]
Plasticity = Literal["hot", "warm", "cold"]
Tag = Literal["primary", "secondary", "recalled", "computed"]
"""How a figure is known: read in the authors' text or configuration, in another's, not checked, worked out here."""
ROUNDING = 2e-3
"""Published percentages are rounded: so far may those of a data set's parts be from 100 %."""


REPO = r"^([\w.-]+/)?[\w.-]+$"
"""A repository of the Hub: its owner, where it has one, and its name."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)


class CuratedSource(_Strict):
    """One source of a curated mix: where its rows come from and its part of the curated tokens."""

    name: str
    share: Share
    category: str | None = None
    """What recipes call it and others of its kind together, such as `safety`. Default: its name."""
    tokens: Count | None = None
    """Tokens it has, where known: used for estimates before it is built."""
    builtin: str | None = None
    options: dict[str, Any] = {}
    path: str | list[str] | None = None
    """Relative to the family file."""
    hf: str | None = Field(default=None, pattern=REPO)
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    shape: str | None = None
    columns: dict[str, str] = {}
    as_text: bool = False
    """Conversations as plain text, for stages before fine-tuning."""
    licence: str | None = None
    stands_for: str | None = None
    """What it takes the place of, where the family's own data cannot be had or is not text."""
    parts: dict[str, Share] = {}
    """What a data set that is published ready mixed is made of, as its authors state it; sums to 100 %."""

    @model_validator(mode="after")
    def _one_origin(self) -> CuratedSource:
        if sum(origin is not None for origin in (self.builtin, self.path, self.hf)) != 1:
            raise InputError(f"the curated source `{self.name}` must have one of `builtin`, `path` and `hf`")
        total = sum(self.parts.values())
        if self.parts and abs(total - 1) > ROUNDING:
            raise InputError(f"the parts of the curated source `{self.name}` sum to {total:.2%}, not 100 %")
        return self

    def spec(self) -> dict[str, Any]:
        """The source as the data package reads it, with what was left out left out."""
        about = {"share", "category", "tokens", "licence", "stands_for", "parts"}
        described = self.model_dump(exclude=about, exclude_none=True)
        return {key: value for key, value in described.items() if value not in ({}, [], False)}

    @property
    def kind(self) -> str:
        """The category it belongs to."""
        return self.category or self.name


class Checkpoint(_Strict):
    """Weights at the end of a stage, and the state their training was in."""

    folder: str | None = None
    """Folder beside the family file."""
    repo: str | None = Field(default=None, pattern=REPO)
    """Hub repository."""
    revision: str | None = None
    """Branch, tag or commit of `repo`."""
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """What the branch or tag resolved to when it was last looked at; `families verify` says when it has moved."""
    tokens: Count = 0
    """Tokens seen in training."""
    stage: Literal["pre", "mid", "post"] = "pre"
    """What kind of training the checkpoint ends."""
    lr: float | None = Field(default=None, ge=0)
    """Learning rate the weights were saved at; left out: computed from `schedule` and `tokens`."""
    published_lr: float | None = Field(default=None, ge=0)
    """That rate as the authors state it: a check of the computed one, not used in its place."""
    peak_lr: float | None = Field(default=None, gt=0)
    """Largest rate of the schedule that led here; left out: that of `schedule`."""
    sft_lr: float | None = Field(default=None, gt=0)
    """Rate that suits supervised fine-tuning from here, where the family published one."""
    schedule: FamilySchedule | None = None
    schedule_tokens: Count | None = None
    """Tokens into `schedule`, where it did not begin at the first token. Default: `tokens`."""
    plasticity: Plasticity | None = None
    """hot, warm or cold; left out: from the two rates."""
    batch_tokens: Count | None = None
    """Tokens in one step of the training that led here."""
    betas: tuple[Share, Share] | None = None
    """AdamW's momenta in that training, where they are not 0.9 and 0.95."""
    averaging: Literal["raw", "ema", "soup"] | None = None
    """The weights of the last step, a moving average over steps, or a mean of several checkpoints, where known."""
    context: int | None = None
    """Longest row, where it differs from the family's."""
    curated: str | None = None
    """The mix that continued training from here is blended with. Default: the mix of the same name."""
    auto: bool = True
    """Whether `start: auto` may take it; no for a side path that a better checkpoint of its kind replaced."""
    empty: bool = False
    """True for a scaffold: a configuration without weights."""

    @model_validator(mode="after")
    def _complete(self) -> Checkpoint:
        if (self.folder is None) == (self.repo is None):
            raise InputError("a checkpoint must have one of `folder` and `repo`", fix="name where the weights are")
        if self.repo is not None and self.revision is None:
            raise InputError(f"the checkpoint in `{self.repo}` has no `revision`", fix="pin a branch, tag or commit")
        lr, peak = self.saved_lr(), self.peak()
        if lr is not None and peak is not None and lr > peak * (1 + ROUNDING):
            message = f"the weights were saved at a rate of {lr:g}, above {peak:g}, the largest of their schedule"
            raise InputError(message, fix="change `lr`, or `peak_lr`")
        return self

    def saved_lr(self) -> float | None:
        """The learning rate at the checkpoint, given or computed; None when neither is possible."""
        return self.lr if self.lr is not None else self.computed_lr()

    def computed_lr(self) -> float | None:
        """The learning rate that the schedule's formula gives; None without a schedule."""
        if self.schedule is None:
            return None
        return lr_at_tokens(self.schedule, self.tokens if self.schedule_tokens is None else self.schedule_tokens)

    def peak(self) -> float | None:
        """The peak learning rate of the schedule that led here."""
        return self.peak_lr if self.peak_lr is not None else self.schedule.peak if self.schedule else None

    def heat(self) -> Plasticity:
        """hot, warm or cold; cold when nothing is known, which is the careful choice."""
        if self.plasticity is not None or self.empty:
            return self.plasticity or "hot"
        lr, peak = self.saved_lr(), self.peak()
        return "cold" if lr is None or not peak else plasticity(lr, peak)


class FamilyFile(_Strict):
    """A family as its YAML file states it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    licence: str
    architecture: str
    """Class name in `transformers`."""
    parameters: Count = Field(gt=0)
    context: int = Field(ge=8)
    tokenizer: str
    """Folder beside the family file, or `hub`: that of the checkpoint's repository."""
    chat_template: str | None = None
    """File beside the family file; left out: the tokenizer's own."""
    transformers: str | None = Field(default=None, pattern=r"^\d+(\.\d+){1,2}$")
    """Least version of `transformers`."""
    gated: bool = False
    """Whether the Hub asks for an account that accepted the licence."""
    data: Literal["open", "partial", "closed"] = "open"
    """Whether what it was trained on can be had."""
    sources: str | None = None
    """Where the numbers come from."""
    evidence: dict[str, Tag] = {}
    """How the numbers are known: `default`, then exceptions by key (`checkpoints.*.revision: secondary`)."""
    default_start: str | None = None
    """The stage `start: auto` falls back to. Default: the last one."""
    checkpoints: dict[str, Checkpoint]
    curated: dict[str, list[CuratedSource]] | str = {}
    """Mixes by name, or the file beside this one that holds them."""
    added: dict[str, Literal["text", "chat"]] = {}
    """Mix -> what Bloomery adds to it of safety and instruction following (families/blends/added.yaml)."""
    eval: list[Suite] = []

    @model_validator(mode="after")
    def _consistent(self) -> FamilyFile:
        if not self.checkpoints:
            raise InputError(f"the family `{self.name}` has no checkpoints", fix="add one under `checkpoints`")
        if self.default_start is not None and self.default_start not in self.checkpoints:
            raise InputError(f"`default_start: {self.default_start}` is none of the family's checkpoints")
        keys = list(_keys(self.model_dump(exclude_defaults=True)))
        for pattern in self.evidence:
            if pattern != "default" and not any(covers(pattern, key) for key in keys):
                raise InputError(f"`evidence.{pattern}` is about no key of the family", fix="name a key that is set")
        return self

    def evidence_of(self, key: str) -> Tag | None:
        """How the value at a dotted key is known: the last exception that covers it, else the family's default."""
        found = [tag for pattern, tag in self.evidence.items() if pattern != "default" and covers(pattern, key)]
        return found[-1] if found else self.evidence.get("default")


def covers(pattern: str, key: str) -> bool:
    """Whether `checkpoints.*.revision` names a dotted key or something that holds it; `*` is one part."""
    wanted, given = pattern.split("."), key.split(".")
    return len(wanted) <= len(given) and all(fnmatchcase(part, want) for want, part in zip(wanted, given, strict=False))


def _keys(value: Any, path: str = "") -> Iterator[str]:
    """Every dotted key of nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        key = f"{path}.{name}" if path else str(name)
        yield key
        yield from _keys(inner, key)
