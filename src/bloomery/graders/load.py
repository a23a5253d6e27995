"""From a grader's spec, as recipes and OpenAI's configs write it, to a grader."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.graders.answers import Exact, Number, Regex, StringCheck
from bloomery.graders.ask import Ask, Embed
from bloomery.graders.checked import Constraint, Curated, Refusal, Workflow
from bloomery.graders.choice import Choice
from bloomery.graders.code import Code
from bloomery.graders.endpoint import Endpoint
from bloomery.graders.function import PythonFunction
from bloomery.graders.judge import LabelModel, Pairwise, ScoreModel
from bloomery.graders.judging import Judges
from bloomery.graders.maths import Maths
from bloomery.graders.multi import Multi, parts
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Grader, Sample, Score
from bloomery.graders.ranges import check_range
from bloomery.graders.structure import JsonSchema
from bloomery.graders.text_similarity import Embedders, TextSimilarity

KINDS: dict[str, type[Any]] = {
    "exact": Exact,
    "string_check": StringCheck,
    "text_similarity": TextSimilarity,
    "regex": Regex,
    "number": Number,
    "maths": Maths,
    "choice": Choice,
    "json_schema": JsonSchema,
    "code": Code,
    "constraint": Constraint,
    "curated": Curated,
    "refusal": Refusal,
    "workflow": Workflow,
    "python": PythonFunction,
    "score_model": ScoreModel,
    "label_model": LabelModel,
    "pairwise": Pairwise,
    "endpoint": Endpoint,
    "multi": Multi,
}
"""`type` -> the grader's class; its fields are the keys a spec may have."""

SCALED = "scale"
NUMBERS = ("tolerance", "seconds", "memory")
"""Keys that are numbers in whatever grader has them; what else must hold of one, its class says."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Another grader's scores mapped linearly from [low, high] to [0, 1]."""

    inner: Grader
    low: float
    high: float

    @property
    def name(self) -> str:
        """The inner grader's name."""
        return self.inner.name

    @property
    def verified(self) -> bool:
        """Whether the inner grader's score is checked."""
        return self.inner.verified

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The inner scores, mapped; one outside the stated range is unscorable, since then the range is wrong."""
        return [self._map(score) for score in self.inner.grade(samples)]

    def _map(self, score: Score) -> Score:
        value = score.aggregate_reward_score
        if value is None:
            return score
        if not self.low <= value <= self.high:
            reason = f"the score {value:g} is outside `scale: [{self.low:g}, {self.high:g}]`"
            return dataclasses.replace(score, aggregate_reward_score=None, reason=reason)
        return dataclasses.replace(score, aggregate_reward_score=(value - self.low) / (self.high - self.low))


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller passes to graders that no file can hold."""

    ask: Ask | None = None
    """The judge of graders that name none."""
    judges: Judges | None = None
    """The judge that a model of this machine is, by its name."""
    embed: Embed | None = None
    """Embeddings for `text_similarity` by cosine that names no `embedder`."""
    embedders: Embedders | None = None
    """Those of a model of this machine, by its name."""
    clock: Clock | None = None


NOTHING = Given()


def load_grader(spec: Mapping[str, Any], base: Path | None = None, given: Given = NOTHING) -> Grader:
    """The grader that `spec` describes: `type` names its kind, `scale: [low, high]` maps its scores to [0, 1].

    A relative `path` counts from the folder `base`. Raises `InputError` for an unknown kind or key, with
    the nearest known one, and for values that cannot work.
    """
    kind = spec.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        said = f"`type: {kind}` is no grader" if "type" in spec else "the grader has no `type`"
        raise InputError(f"{said}{nearest(str(kind), KINDS)}", fix="change `type`")
    made = KINDS[kind]
    own = [field for field in dataclasses.fields(made) if field.init]
    fields = {field.name: field for field in own if not field.metadata.get("given")}
    arguments = {key: value for key, value in spec.items() if key not in ("type", SCALED)}
    for key in arguments:
        if key not in fields:
            raise InputError(f"a {kind} grader has no key `{key}`{nearest(key, [*fields, SCALED])}", fix="change it")
    for name, field in fields.items():
        if field.default is field.default_factory is dataclasses.MISSING and name not in arguments:
            raise InputError(f"a {kind} grader needs `{name}`", fix=f"add `{name}`")
    _check_common(arguments)
    if base is not None and isinstance(arguments.get("path"), str):
        arguments["path"] = str(base / arguments["path"])
    if made is Multi:
        listed = parts(arguments["graders"])
        arguments["graders"] = {name: _inside(name, part, base, given) for name, part in listed.items()}
    for field in own:
        if field.metadata.get("given") and (value := getattr(given, field.name)) is not None:
            arguments[field.name] = value
    grader: Grader = made(**arguments)
    return grader if SCALED not in spec else Scaled(grader, *check_range(spec[SCALED], SCALED))


def _inside(name: str, spec: Mapping[str, Any], base: Path | None, given: Given) -> Grader:
    try:
        return load_grader(spec, base, given)
    except InputError as error:
        raise InputError(f"`graders.{name}`: {error.message}", where=error.where, fix=error.fix) from None


def _check_common(arguments: Mapping[str, Any]) -> None:
    for key in ("verified", "trusted", "private", "fenced", "ignore_case", "strip", "whole"):
        if not isinstance(arguments.get(key, False), bool):
            raise InputError(f"`{key}: {arguments[key]}` is neither true nor false", fix=f"change `{key}`")
    if not isinstance(arguments.get("name", ""), str):
        raise InputError(f"`name: {arguments['name']}` is no text", fix="change `name`")
    for key in NUMBERS:
        value = arguments.get(key, 1)
        if type(value) not in (int, float) or not 0 <= value < math.inf or (not value and key != "tolerance"):
            raise InputError(f"`{key}: {value}` is not above zero", fix=f"change `{key}`")
