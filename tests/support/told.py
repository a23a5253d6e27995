"""An engine that answers what it is told and scores by what it likes, so that tests of evaluation know every figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bloomery.core.rows import TokenRow
from bloomery.engine.protocol import Completion, Sampling

Answers = Callable[[str, int], str] | Mapping[str, str] | None
TEXTS = [f"item {i} costs {i * 7} crowns and weighs {i % 9} grams, naïve or not" for i in range(80)]
"""What the tokenizer of evaluation's tests was trained on."""


class Told:
    """Answers by a function of the prompt and its number, or by a table of what prompts hold; else with nothing.

    A token of a text that it likes has log-probability -0.1, any other -1.
    """

    def __init__(self, tokenizer: Any, answers: Answers = None, likes: str = "", context: int = 512) -> None:
        self.tokenizer, self.answers, self.likes, self.context = tokenizer, answers, likes, context
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        found = []
        for number, prompt in enumerate(prompts):
            self.asked.append(self.tokenizer.decode(prompt))
            ids = (*self.tokenizer(self._said(self.asked[-1], number))["input_ids"], 0)[: sampling.max_new_tokens]
            ended: Any = "stop" if ids[-1] == 0 else "length"
            found.append(Completion(ids, np.zeros(len(ids), np.float32), ended, 0.5))
        return found

    def score(self, rows: Sequence[TokenRow]) -> list[Any]:
        assert all(0 < len(row) <= self.context for row in rows)
        liked = [self.likes and self.likes in self.tokenizer.decode(row.ids.tolist()) for row in rows]
        return [
            np.array([0.0] + [-0.1 if one else -1.0] * (len(row) - 1)) for one, row in zip(liked, rows, strict=True)
        ]

    def _said(self, prompt: str, number: int) -> str:
        if callable(self.answers):
            return self.answers(prompt, number)
        return next((answer for held, answer in (self.answers or {}).items() if held in prompt), "")
