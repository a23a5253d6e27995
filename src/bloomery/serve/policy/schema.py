"""A policy file: its keys, and what each means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bloomery.core.errors import InputError, nearest
from bloomery.core.quantity import parse_share
from bloomery.serve.policy.decision import Action
from bloomery.serve.policy.numbers import CHECKS
from bloomery.serve.policy.pattern import LONGEST

KINDS = ("regex", "words", "near", "head", "ask", "label_model", "judge", "endpoint", "grader")
REMOTE = ("label_model", "judge", "endpoint", "grader")
"""Kinds whose value is a grader's spec."""
WHOLE = ("head", "ask", *REMOTE)
"""Kinds that judge a text as a whole, and cannot say where in it something is."""


class Keys(BaseModel):
    """A mapping of a policy file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Exempt(Keys):
    """A phrase that is allowed where a detector of the category finds something inside it."""

    text: str | list[str]
    """The phrase, or several."""
    reason: str = Field(min_length=1)
    """Why; it is logged with every use."""

    @property
    def phrases(self) -> list[str]:
        """The phrases as a list."""
        return [self.text] if isinstance(self.text, str) else self.text


class Detector(Keys):
    """One way to find what a category is about: exactly one of the kinds, and its settings."""

    regex: str | None = None
    """A regular expression."""
    words: list[str] | str | None = None
    """Words and phrases, or a text file with one on each line."""
    near: list[list[str]] | None = Field(None, min_length=2, max_length=4)
    """Two to four lists of words, or names of the file's `groups`: one of each, in this order, in one sentence."""
    head: str | None = None
    """A folder that `bloomery policy train` wrote."""
    ask: str | None = None
    """A question to the served model, with `{text}` where the text goes."""
    label_model: dict[str, Any] | None = None
    """A grader that asks a model for a label."""
    judge: dict[str, Any] | None = None
    """A grader that asks a model for a score."""
    endpoint: dict[str, Any] | None = None
    """A grader behind your own address."""
    grader: dict[str, Any] | None = None
    """Any other grader, with its `type`."""
    gap: int = Field(60, ge=1, le=400)
    """For `near`: most characters between two of its words."""
    any_order: bool = False
    """For `near`: in whatever order."""
    without: list[str] = []
    """For `near`: words whose presence in the sentence makes it harmless."""
    check: str | None = None
    """For `regex`: a check digit that a match must have."""
    fold: bool = False
    """For `regex`: match the folded text, in which letters are plain and small."""
    ignore_case: bool = False
    """For `regex`."""
    longest: int = Field(LONGEST, ge=1, le=4096)
    """For `regex`: most characters of a match, with what it looks at behind it."""
    threshold: float | None = None
    """For `head`, by default its own, and for graders, by default 0.5: flagged from this score on."""
    flags: Literal["high", "low"] = "high"
    """For graders: `low` where a low score is the bad one."""
    labels: list[str] = []
    """For `ask`: what may be answered."""
    flagged: list[str] = []
    """For `ask`: the answers that flag the text."""
    every: int | None = Field(None, ge=20)
    """For what judges a text as a whole: look again after so many characters. Text is held back until it was looked at.
    Default: 400 for `head`, otherwise the whole text at once."""

    @model_validator(mode="after")
    def _fits(self) -> Detector:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            said = " and ".join(f"`{kind}`" for kind in given) or "none"
            raise InputError(f"a detector is one of {', '.join(KINDS)}; this one has {said}", fix="write exactly one")
        for key in self.model_fields_set - {given[0]}:
            if given[0] not in _BELONGS[key]:
                raise InputError(f"`{key}` means nothing for `{given[0]}`", fix=f"remove `{key}`")
        if self.check is not None and self.check not in CHECKS:
            raise InputError(f"`check: {self.check}` is no check digit{nearest(self.check, CHECKS)}", fix="change it")
        if self.ask is not None and ("{text}" not in self.ask or len(set(self.labels)) < 2):
            raise InputError("`ask` needs `{text}` in it, and two `labels` or more", fix="add what is missing")
        if self.ask is not None and (not self.flagged or not set(self.flagged) < set(self.labels)):
            raise InputError("`flagged` must be some of `labels`, and not all", fix="change `flagged`")
        return self

    @property
    def kind(self) -> str:
        """The kind that is given."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


_BELONGS: dict[str, tuple[str, ...]] = dict.fromkeys(KINDS, ()) | {
    "gap": ("near",),
    "any_order": ("near",),
    "without": ("near",),
    "check": ("regex",),
    "fold": ("regex",),
    "ignore_case": ("regex",),
    "longest": ("regex",),
    "threshold": ("head", *REMOTE),
    "flags": REMOTE,
    "labels": ("ask",),
    "flagged": ("ask",),
    "every": WHOLE,
}


class Category(Keys):
    """What is looked for, where, and what happens then."""

    detectors: list[Detector] = Field(min_length=1)
    """Any of them is enough."""
    action: Action = "block"
    """`block` ends it, `review` lets it pass and tells the log that a person should look, `mask` replaces what was
    found, `warn` lets it pass with the message, `allow` switches the category off but still logs."""
    applies: Literal["input", "output", "both"] = "both"
    """What goes into the model, what comes out, or both."""
    message: str = ""
    """What the reader is told."""
    severity: Literal["low", "medium", "high"] = "medium"
    """Logged, so that reviews can be sorted."""
    on_failure: Literal["block", "review", "allow"] = "review"
    """What happens when a detector fails. It is always logged."""
    allow: list[Exempt] = []
    """Exceptions, each with its reason."""

    @model_validator(mode="after")
    def _masks_what_it_finds(self) -> Category:
        whole = [detector.kind for detector in self.detectors if detector.kind in WHOLE]
        if self.action == "mask" and whole:
            raise InputError(
                f"`action: mask` cannot be used with `{whole[0]}`, which does not say where in a text something is",
                fix="write `action: block` or `review`",
            )
        return self


class Bounds(Keys):
    """What `bloomery policy test` holds the policy to."""

    blocked_harmful: float | None = None
    """At least this share of harmful rows is acted on."""
    blocked_safe: float | None = None
    """At most this share of safe rows is."""

    @field_validator("blocked_harmful", "blocked_safe", mode="before")
    @classmethod
    def _share(cls, value: Any, info: Any) -> float | None:
        return None if value is None else parse_share(value, info.field_name)


class Policy(Keys):
    """A policy, with all that it extends laid under it; without the floor."""

    name: str = ""
    extends: str | list[str] = []
    """Shipped templates, or files beside this one."""
    message: str = "This was stopped by the content policy."
    """What a reader is told by categories without a message."""
    mask: str = "[removed]"
    """What stands where something was masked."""
    log_text: bool = False
    """Log what was found, not only its hash."""
    groups: dict[str, list[str]] = {}
    """Word lists by name, for `near` in this file and in those that extend it."""
    categories: dict[str, Category] = {}
    bounds: Bounds = Bounds()


def words_of(detector: Detector, base: Path) -> list[str]:
    """The entries of a word list; a file's lines, but empty ones and those that begin with `#`.

    Raises `InputError` for a file that cannot be read.
    """
    if isinstance(detector.words, list):
        return detector.words
    path = base / str(detector.words)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`words: {detector.words}` cannot be read: {error}", fix="check the path") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
