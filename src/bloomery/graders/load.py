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
from bloomery.graders.checked import Constraint, Curated, Refusal, Workflow
from bloomery.graders.function import PythonFunction
from bloomery.graders.payload import Grader, Sample, Score

KINDS: dict[str, type[Any]] = {
    "exact": Exact,
    "string_check": StringCheck,
    "regex": Regex,
    "number": Number,
    "constraint": Constraint,
    "curated": Curated,
    "refusal": Refusal,
    "workflow": Workflow,
    "python": PythonFunction,
}
"""`type` -> the grader's class; its fields are the keys a spec may have."""

SCALED = "scale"


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


def load_grader(spec: Mapping[str, Any], base: Path | None = None) -> Grader:
    """The grader that `spec` describes: `type` names its kind, `scale: [low, high]` maps its scores to [0, 1].

    A relative `path` counts from the folder `base`. Raises `InputError` for an unknown kind or key, with
    the nearest known one, and for values that cannot work.
    """
    kind = spec.get("type")
    if kind not in KINDS:
        said = f"`type: {kind}` is no grader" if "type" in spec else "the grader has no `type`"
        raise InputError(f"{said}{nearest(str(kind), KINDS)}", fix="change `type`")
    made = KINDS[kind]
    fields = {field.name: field for field in dataclasses.fields(made)}
    arguments = {key: value for key, value in spec.items() if key not in ("type", SCALED)}
    for key in arguments:
        if key not in fields:
            raise InputError(f"a {kind} grader has no key `{key}`{nearest(key, [*fields, SCALED])}", fix="change it")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in arguments:
            raise InputError(f"a {kind} grader needs `{name}`", fix=f"add `{name}`")
    if base is not None and "path" in arguments:
        arguments["path"] = str(base / arguments["path"])
    grader: Grader = made(**arguments)
    return grader if SCALED not in spec else _scaled(grader, spec[SCALED])


def _scaled(grader: Grader, scale: Any) -> Grader:
    whole = isinstance(scale, list | tuple) and len(scale) == 2
    if not whole or not all(type(end) in (int, float) and math.isfinite(end) for end in scale) or scale[0] >= scale[1]:
        raise InputError(f"`scale: {scale}` is no range", fix="write its lowest and highest score, such as `[2, 10]`")
    return Scaled(grader, float(scale[0]), float(scale[1]))
