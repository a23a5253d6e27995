"""Graders that ask a language model: OpenAI's `score_model` and `label_model`, and pairs in both orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bloomery.core.errors import InputError
from bloomery.graders.ask import Ask, Question
from bloomery.graders.judging import Judges, Panel, check_input, marked, messages, panel, sampling
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Metric, Sample, Score, number_or_reason, text_of
from bloomery.graders.ranges import check_range

GIVEN = {"given": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What every judge has: a prompt, a model, and where it is asked."""

    name: str = "judge"
    model: str = ""
    judge: Any = None
    """Who judges: a model of this machine by its name (a run, a folder, FAMILY/STAGE), or a server: `{url, model,
    key}`."""
    input: Any = None
    """The prompt: a text, or OpenAI's list of messages."""
    sampling_params: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    """An OpenAI-compatible server's address up to `/v1`. Without it and `judge`, whom the caller passes judges."""
    api_key: Any = None
    """`{env: NAME}`."""
    private: bool = False
    hosts: Sequence[str] = ()
    tries: int = 4
    seconds: float = 120.0
    concurrency: int = 8
    verified: bool = False
    """A judge's score is judged, not checked."""
    ask: Ask | None = field(default=None, metadata=GIVEN, repr=False, compare=False)
    judges: Judges | None = field(default=None, metadata=GIVEN, repr=False, compare=False)
    clock: Clock = field(default_factory=Clock, metadata=GIVEN, repr=False, compare=False)
    panel: Panel = field(init=False, repr=False, compare=False, default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_input(self.input)
        sampling(self.sampling_params)
        object.__setattr__(self, "panel", panel(self, self.ask, self.judges))

    def _question(self, sample: Sample, schema: Mapping[str, Any], prompt: Any = None) -> Question:
        filled = messages(self.input if prompt is None else prompt, sample, schema)
        return Question(filled, schema, self.model, sampling(self.sampling_params))

    def _judged(
        self, samples: Sequence[Sample], schema: Mapping[str, Any], read: Callable[[Any], Any]
    ) -> list[tuple[Any, str]]:
        """A verdict for each sample; none, with the reason, for one whose prompt cannot be filled."""
        found: list[tuple[Any, str]] = [(None, "")] * len(samples)
        asked: list[tuple[int, Question]] = []
        for at, sample in enumerate(samples):
            try:
                asked.append((at, self._question(sample, schema)))
            except (KeyError, ValueError) as error:
                found[at] = None, _missing(error)
        verdicts = self.panel.verdicts([question for _, question in asked], read)
        for (at, _), verdict in zip(asked, verdicts, strict=True):
            found[at] = verdict
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModel(Judge):
    """A model's score within `range`, by the rubric in `input`."""

    name: str = "score_model"
    range: Sequence[float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        Judge.__post_init__(self)
        check_range(self.range)

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The judge's scores; unscorable where it answers no number within the range, twice."""
        low, high = self.range
        number = {"type": "number", "minimum": low, "maximum": high}
        schema = _form({"reasoning": {"type": "string"}, "score": number})

        def read(value: Any) -> float:
            score, reason = number_or_reason(value["score"])
            if score is None or not low <= score <= high:
                raise ValueError(reason or f"the score {score:g} is outside `range: [{low:g}, {high:g}]`")
            return score

        judged = self._judged(samples, schema, read)
        return [Score(sample.id, score, reason=why) for sample, (score, why) in zip(samples, judged, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelModel(Judge):
    """1 where the label that a model gives is one of `passing_labels`."""

    name: str = "label_model"
    labels: Sequence[str] = ()
    passing_labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        Judge.__post_init__(self)
        for key in ("labels", "passing_labels"):
            value = getattr(self, key)
            if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
                raise InputError(f"a label_model grader needs `{key}`, a list of texts", fix=f"write `{key}: [..]`")
        if unknown := [label for label in self.passing_labels if label not in self.labels]:
            raise InputError(
                f"`passing_labels` has `{unknown[0]}`, which is none of `labels`", fix="change one of them"
            )

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0 with the label as the reason; unscorable where the judge gives none of the labels, twice."""
        schema = _form({"reasoning": {"type": "string"}, "label": {"type": "string", "enum": list(self.labels)}})

        def read(value: Any) -> str:
            if value["label"] not in self.labels:
                raise ValueError("it gives none of the labels")
            return str(value["label"])

        judged = self._judged(samples, schema, read)
        return [
            Score(sample.id, None if label is None else float(label in self.passing_labels), reason=why or str(label))
            for sample, (label, why) in zip(samples, judged, strict=True)
        ]


PAIR = """Which of two answers to the same request is better? {criteria}
The request:
{{{{ item.request }}}}
The first answer:
{{{{ item.first }}}}
The second answer:
{{{{ item.second }}}}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairwise(Judge):
    """1 where a model prefers the answer to another, 0 where it prefers the other, 0.5 for a draw.

    Each pair is judged in both orders; preferring what stands first both times is a draw, and the metric `consistent`
    tells. `input` are the criteria; the other answer is the row's `metadata[other]`, or its reference answer.
    """

    name: str = "pairwise"
    input: Any = "Weigh how correct, helpful and clear they are, not how long."
    other: str = "other"

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1, 0.5 or 0; unscorable where there is no other answer, or an order has no verdict."""
        return self._graded(samples, (False, True))

    def in_order(self, samples: Sequence[Sample]) -> list[Score]:
        """The same of each pair as it is shown, the answer first: whoever asks turns it around."""
        return self._graded(samples, (False,))

    def _graded(self, samples: Sequence[Sample], orders: Sequence[bool]) -> list[Score]:
        schema = _form(
            {"reasoning": {"type": "string"}, "better": {"type": "string", "enum": ["first", "second", "neither"]}}
        )
        asked: list[Question] = []
        places: dict[int, int] = {}
        for at, sample in enumerate(samples):
            other = sample.metadata.get(self.other) or sample.reference_answer
            if isinstance(other, str):
                places[at] = len(asked)
                asked += [self._pair(sample, other, schema, swapped) for swapped in orders]
        verdicts = self.panel.verdicts(asked, _better)
        return [
            _preferred(sample, verdicts[places[at] : places[at] + len(orders)])
            if at in places
            else Score(sample.id, None, reason=f"the row has neither `metadata.{self.other}` nor a reference answer")
            for at, sample in enumerate(samples)
        ]

    def _pair(self, sample: Sample, other: str, schema: Mapping[str, Any], swapped: bool) -> Question:
        first, second = (other, sample.answer) if swapped else (sample.answer, other)
        request = "\n".join(f"{one.get('role')}: {text_of(one)}" for one in sample.messages[:-1])
        fields = {"request": marked(request), "first": marked(first), "second": marked(second)}
        return self._question(
            Sample(sample.id, sample.messages, None, fields), schema, PAIR.format(criteria=self.input)
        )


def _better(value: Any) -> str:
    if value["better"] not in ("first", "second", "neither"):
        raise ValueError("it prefers none of first, second, neither")
    return str(value["better"])


def _preferred(sample: Sample, verdicts: Sequence[tuple[Any, str]]) -> Score:
    """The score of a pair from its verdicts: as shown, and turned around where that was asked, too."""
    if problem := next((why for _, why in verdicts if why), ""):
        return Score(sample.id, None, reason=problem)
    points = {"first": 1.0, "neither": 0.5, "second": 0.0}
    one = points[verdicts[0][0]]
    if len(verdicts) == 1:
        return Score(sample.id, one)
    two = 1 - points[verdicts[1][0]]
    score = (one + two) / 2 if {one, two} != {0.0, 1.0} else 0.5
    return Score(sample.id, score, (Metric("consistent", float(one == two)),))


def _form(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _missing(error: Exception) -> str:
    return f"the row's metadata has no {error}" if isinstance(error, KeyError) else str(error)
