"""Several graders in one: a weighted sum, or OpenAI's `calculate_output`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.graders.arithmetic import Node, expression
from bloomery.graders.payload import Grader, Metric, Sample, Score, number_or_reason


@dataclass(frozen=True, slots=True)
class Multi:
    """The sum of `weights[name] * score` over `graders`, or what `calculate_output` says of them.

    Without either, the mean. One component without a score leaves the whole without one: the rest of a sum is another
    sum.
    """

    graders: Mapping[str, Grader]
    calculate_output: str | None = None
    weights: Mapping[str, float] | None = None
    name: str = "multi"
    verified: bool | None = None
    """As stated; else whether all components are."""
    combine: Node = field(init=False, repr=False, compare=False, default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.graders:
            raise InputError("a multi grader needs `graders`", fix="name at least one under `graders`")
        if self.calculate_output is not None and self.weights is not None:
            raise InputError("`weights` and `calculate_output` both say how to combine", fix="keep one")
        if self.verified is None:
            object.__setattr__(self, "verified", all(grader.verified for grader in self.graders.values()))
        if self.calculate_output is not None:
            object.__setattr__(self, "combine", expression(self.calculate_output, self.graders))
        else:
            weights = self._weights()
            object.__setattr__(self, "combine", lambda scores: sum(weights[name] * scores[name] for name in weights))

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The combined scores, each component as a metric; unscorable where a component is or the sum is no number."""
        columns = {name: grader.grade(samples) for name, grader in self.graders.items()}
        rows = [{name: column[at] for name, column in columns.items()} for at in range(len(samples))]
        return [self._one(sample, row) for sample, row in zip(samples, rows, strict=True)]

    def _one(self, sample: Sample, row: Mapping[str, Score]) -> Score:
        values = {name: one.aggregate_reward_score for name, one in row.items()}
        known = {name: value for name, value in values.items() if value is not None}
        metrics = tuple(Metric(name, value, "Reward") for name, value in known.items())
        missing = [f"{name}: {row[name].reason}" for name in values if name not in known]
        if missing:
            return Score(sample.id, None, metrics, reason="; ".join(missing)[:500])
        try:
            value, reason = number_or_reason(self.combine(known))
        except (ArithmeticError, ValueError) as error:
            value, reason = None, f"the scores cannot be combined: {error}"
        return Score(sample.id, value, metrics, reason=reason)

    def _weights(self) -> dict[str, float]:
        if self.weights is None:
            return dict.fromkeys(self.graders, 1 / len(self.graders))
        for name, weight in self.weights.items():
            if name not in self.graders:
                raise InputError(f"`weights.{name}` names no grader{nearest(str(name), self.graders)}", fix="rename it")
            if number_or_reason(weight)[0] is None:
                raise InputError(f"`weights.{name}: {weight}` is no number", fix="change it")
        if left := set(self.graders) - set(self.weights):
            raise InputError(f"`weights` lacks `{min(left)}`", fix="give each grader a weight, 0 to only report it")
        return dict(self.weights)


def parts(listed: Any) -> dict[str, Mapping[str, Any]]:
    """`graders:` as name -> spec: OpenAI's mapping, or a list of graders with names."""
    if isinstance(listed, Mapping):
        named = dict(listed)
    elif isinstance(listed, list):
        named = {str(spec.get("name", spec.get("type"))): spec for spec in listed if isinstance(spec, Mapping)}
        if len(named) < len(listed):
            raise InputError("`graders` has two of one name, or one that is no mapping", fix="give each a `name`")
    else:
        raise InputError("`graders` is no mapping of graders", fix="write `name: {type: ...}` lines under it")
    for name, spec in named.items():
        if not isinstance(spec, Mapping):
            raise InputError(f"`graders.{name}` is no grader", fix="write `{type: ...}`")
    return named
