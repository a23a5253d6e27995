"""A model of this machine as a judge: it answers questions in the form that was asked for, and gives embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bloomery.engine.protocol import Completion, Grammar, Sampling
from bloomery.evals.prompts import Prompter
from bloomery.graders.ask import Question, Said

TOKENS = 512
"""Most tokens of a reply where a grader's `sampling_params` do not say."""
LEAST = 64
"""Tokens of a reply that must fit into the context beside the question."""
LONGEST = 300
"""Most characters of a text in a reply, so that a model that rambles comes to its verdict."""


class Answering(Protocol):
    """What is needed of an engine: to answer, to embed, and how much it can read."""

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        ...

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer for each prompt of token ids."""
        ...

    def embed(self, texts: Sequence[Sequence[int]]) -> Sequence[Any]:
        """A vector for each text of token ids."""
        ...


class EngineJudge:
    """An `Ask` of graders, and an `Embed`, on an engine; what its context cannot hold has no answer, and says so."""

    def __init__(self, engine: Answering, prompter: Prompter) -> None:
        self.engine, self.prompter = engine, prompter

    def __call__(self, questions: Sequence[Question]) -> list[Said]:
        """One reply for each question, held to its JSON schema."""
        found: list[Said] = [Said(problem="it was not asked")] * len(questions)
        groups: dict[Sampling, list[tuple[int, list[int]]]] = {}
        for at, question in enumerate(questions):
            prompt = self.prompter.prompt([dict(message) for message in question.messages])
            room = self.engine.context - len(prompt)
            if room < LEAST:
                found[at] = Said(problem=f"the question has {len(prompt):,} tokens, {self._room()}")
                continue
            groups.setdefault(_sampling(question, room), []).append((at, prompt))
        for sampling, asked in groups.items():
            answers = self.engine.generate([prompt for _, prompt in asked], sampling)
            for (at, _), answer in zip(asked, answers, strict=True):
                found[at] = self._said(answer)
        return found

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One embedding for each text. Raises ValueError for one that is empty or longer than the context."""
        rows = [self.prompter.text(text) for text in texts]
        for row in rows:
            if not 0 < len(row) <= self.engine.context:
                raise ValueError(f"a text has {len(row):,} tokens; the context holds 1 to {self.engine.context:,}")
        return [[float(value) for value in vector] for vector in self.engine.embed(rows)]

    def _said(self, answer: Completion) -> Said:
        if answer.finish_reason == "length":
            return Said(problem="the judge's reply was cut at its length limit")
        text: str = self.prompter.tokenizer.decode(answer.body, skip_special_tokens=True)
        return Said(text)

    def _room(self) -> str:
        return f"and the judge's context holds {self.engine.context:,} with {LEAST} for its reply"


def _sampling(question: Question, room: int) -> Sampling:
    """How a reply is sampled; temperature 0 where nothing is said, as `reasoning_effort`, which means nothing here."""
    asked = question.sampling
    limit = next((asked[key] for key in ("max_completion_tokens", "max_tokens") if key in asked), TOKENS)
    return Sampling(
        min(int(limit), room),
        float(asked.get("temperature", 0.0)),
        float(asked.get("top_p", 1.0)),
        int(asked.get("seed", 0)),
        grammar=Grammar("json_schema", json.dumps(_bounded(question.schema))),
    )


def _bounded(schema: Any) -> Any:
    """The schema with an end to every text that has none."""
    if isinstance(schema, list):
        return [_bounded(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: _bounded(value) for key, value in schema.items()}
    free = schema.get("type") == "string" and not {"enum", "const", "pattern", "maxLength"} & set(schema)
    return {**found, "maxLength": LONGEST} if free else found
