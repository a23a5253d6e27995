"""OpenAI's `text_similarity`: how alike the answer and the reference are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bloomery.core.errors import InputError, nearest
from bloomery.graders.answers import each
from bloomery.graders.payload import Sample, Score
from bloomery.graders.similarity import METRICS, cosine
from bloomery.graders.template import fill, references

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""One embedding for each text, all of one length."""
OUTPUT, REFERENCE = "{{ sample.output_text }}", "{{ item.reference_answer }}"


@dataclass(frozen=True, slots=True)
class TextSimilarity:
    """A score in [0, 1] by `evaluation_metric`; of several reference answers the most similar counts."""

    name: str = "text_similarity"
    evaluation_metric: str = "fuzzy_match"
    input: str = OUTPUT
    reference: str = REFERENCE
    embed: Embed | None = field(default=None, metadata={"given": True})
    """What `cosine` compares by; given by the caller, not written in a file."""
    verified: bool = True

    def __post_init__(self) -> None:
        known = [*METRICS, "cosine"]
        if self.evaluation_metric not in known:
            raise InputError(
                f"`evaluation_metric: {self.evaluation_metric}` is not measured here"
                f"{nearest(str(self.evaluation_metric), known)}",
                fix="change `evaluation_metric`",
            )

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """Similarities; unscorable where a template names what the row lacks, or an embedding has no direction."""
        if self.evaluation_metric == "cosine" and self.embed is None:
            raise InputError(
                "`evaluation_metric: cosine` compares embeddings, and no model for them was given",
                fix="pass `embed` to load_grader, or use `fuzzy_match`",
            )
        return each(samples, self._alike)

    def _alike(self, sample: Sample) -> float:
        answer = fill(self.input, sample)
        wanted = references(sample) if self.reference.strip() == REFERENCE else [fill(self.reference, sample)]
        return max(self._pair(answer, one) for one in wanted)

    def _pair(self, answer: str, wanted: str) -> float:
        if self.embed is None:
            return METRICS[self.evaluation_metric](answer, wanted)
        return cosine(*self.embed([answer, wanted]))
