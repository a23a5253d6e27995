"""OpenAI's `text_similarity`: how alike the answer and the reference are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.graders.answers import each
from bloomery.graders.ask import Embed, OpenAIEmbed, Server, named
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Sample, Score
from bloomery.graders.similarity import METRICS, cosine
from bloomery.graders.template import fill, references

Embedders = Callable[[str], Embed]
"""The embeddings of a model of this machine, by its name; it is loaded when it is first asked."""
GIVEN = {"given": True}
OUTPUT, REFERENCE = "{{ sample.output_text }}", "{{ item.reference_answer }}"


@dataclass(frozen=True, slots=True)
class TextSimilarity:
    """A score in [0, 1] by `evaluation_metric`; of several reference answers the most similar counts."""

    name: str = "text_similarity"
    evaluation_metric: str = "fuzzy_match"
    input: str = OUTPUT
    reference: str = REFERENCE
    embedder: Any = None
    """Whose embeddings `cosine` compares: a model of this machine by its name, or a server: `{url, model, key}`."""
    embed: Embed | None = field(default=None, metadata=GIVEN, repr=False, compare=False)
    """The same without `embedder`; given by the caller, not written in a file."""
    embedders: Embedders | None = field(default=None, metadata=GIVEN, repr=False, compare=False)
    clock: Clock = field(default_factory=Clock, metadata=GIVEN, repr=False, compare=False)
    verified: bool = True

    def __post_init__(self) -> None:
        known = [*METRICS, "cosine"]
        if self.evaluation_metric not in known:
            raise InputError(
                f"`evaluation_metric: {self.evaluation_metric}` is not measured here"
                f"{nearest(str(self.evaluation_metric), known)}",
                fix="change `evaluation_metric`",
            )
        if self.embedder is None:
            return
        if self.evaluation_metric != "cosine":
            fix = "remove `embedder`, or write `evaluation_metric: cosine`"
            raise InputError(f"`embedder` means nothing for `{self.evaluation_metric}`", fix=fix)
        who = named(self.embedder, "embedder")
        if isinstance(who, Server):
            object.__setattr__(self, "embed", OpenAIEmbed(who.client(60.0, 4, 4, self.clock), who.model))
        else:
            object.__setattr__(self, "embed", self.embedders(who) if self.embedders else None)

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """Similarities; unscorable where a template names what the row lacks, or there is no embedding for it."""
        if self.evaluation_metric != "cosine":
            return each(samples, lambda sample: max(self._alike(*pair) for pair in self._pairs(sample)))
        if self.embed is None:
            raise InputError(
                "`evaluation_metric: cosine` compares embeddings, and no model for them was given",
                fix="write `embedder: FAMILY/STAGE`, a run or a folder, where models can be loaded; or a server's"
                " address: `embedder: {url: https://.../v1, model: NAME, key: {env: NAME}}`",
            )
        return self._by_embeddings(samples, self.embed)

    def _by_embeddings(self, samples: Sequence[Sample], embed: Embed) -> list[Score]:
        """All texts in one call; what the call raises leaves the whole batch without scores."""
        pairs: dict[int, list[tuple[str, str]]] = {}
        for at, sample in enumerate(samples):
            with suppress(KeyError, ValueError):  # `each` says why
                pairs[at] = self._pairs(sample)
        texts = list(dict.fromkeys(text for many in pairs.values() for pair in many for text in pair))
        try:
            found = dict(zip(texts, embed(texts) if texts else (), strict=True))
        except InputError:
            raise
        except Exception as error:  # a server that is down, an engine out of memory: no score, whatever it was
            reason = f"there are no embeddings: {type(error).__name__}: {error}"[:300]
            return [Score(sample.id, None, reason=reason) for sample in samples]

        def alike(sample: Sample) -> float:
            return max(cosine(found[answer], found[wanted]) for answer, wanted in self._pairs(sample))

        return each(samples, alike)

    def _pairs(self, sample: Sample) -> list[tuple[str, str]]:
        answer = fill(self.input, sample)
        wanted = references(sample) if self.reference.strip() == REFERENCE else [fill(self.reference, sample)]
        return [(answer, one) for one in wanted]

    def _alike(self, answer: str, wanted: str) -> float:
        return METRICS[self.evaluation_metric](answer, wanted)
