"""Pairs of answers whose log-probabilities follow from plain arithmetic, so that two trainers can be given the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bloomery.core.rows import TokenRow
from bloomery.train.batch import MicroBatch
from bloomery.train.reference import compared

PAIRS = [
    (
        [number + 1, 50 + number],
        [60 + (7 * number + 3 * k) % 40 for k in range(3 + number % 4)],
        [100 + (5 * number + 2 * k) % 40 for k in range(2 + 3 * number % 5)],
    )
    for number in range(6)
]
"""(prompt, chosen answer, rejected answer) as token ids; no two prompts begin alike."""

SETTINGS: dict[str, dict[str, float]] = {
    "dpo": {"beta": 0.1},
    "dpo robust": {"beta": 0.3, "label_smoothing": 0.2},
    "ipo": {"beta": 0.1},
    "kto": {"beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.3},
    "orpo": {"beta": 0.1},
}


def said(first: Any, token: Any) -> Any:
    """The model's log-probability of a token in a conversation that begins with `first`."""
    return -((first * 7 + token * 5) % 23 + 1) / 16


def start_said(first: Any, token: Any) -> Any:
    """The start's."""
    return -((first * 3 + token * 11) % 29 + 1) / 16


def judged() -> list[tuple[list[int], list[int], bool]]:
    """(prompt, answer, whether it is good): the pairs taken apart, as TRL does it, the chosen ones first."""
    return [(p, c, True) for p, c, _ in PAIRS] + [(p, r, False) for p, _, r in PAIRS]


def rotated() -> list[tuple[list[int], list[int]]]:
    """Each prompt with the answer before: what KTO measures."""
    rows = judged()
    return [(prompt, rows[number - 1][1]) for number, (prompt, _, _) in enumerate(rows)]


def rows_of(objective: str) -> list[TokenRow]:
    """The rows of one step, with the start's log-probabilities where the objective compares."""
    if objective == "kto":
        found = [_row(p, a, f"{n}", 1 if good else -1) for n, (p, a, good) in enumerate(judged())]
        return found + [_row(p, a, f"kl{n}", 1, part="kl") for n, (p, a) in enumerate(rotated())]
    rows = []
    for number, (prompt, *answers) in enumerate(PAIRS):
        for answer, sign in zip(answers, (1, -1), strict=True):
            weight = sign / len(answer) if objective in ("ipo", "orpo") else sign
            rows.append(_row(prompt, answer, f"{number}/{sign}", weight, str(number), compares=objective != "orpo"))
    return rows


def _row(
    prompt: list[int], answer: list[int], name: str, weight: float, group: str | None = None, part: str = "pref",
    compares: bool = True,
) -> TokenRow:  # fmt: skip
    ids = np.array(prompt + answer, np.int32)
    weights = np.array([0.0] * len(prompt) + [weight] * len(answer), np.float32)
    row = TokenRow(ids, {part: weights}, name, "answers", name, group)
    if not compares:
        return row
    logp = np.zeros(len(ids), np.float32)
    logp[compared(row)] = [start_said(prompt[0], token) for token in answer]
    return TokenRow(ids, row.weight, name, "answers", name, group, logp_ref=logp)


class Speaker(SimpleNamespace):
    """Stands in for the module that is trained: it says what `said` tells, and `asked` holds that with its gradient."""

    packing, training = "packed", True

    def eval(self) -> None: ...

    def train(self, mode: bool = True) -> None: ...

    def score(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        assert batch.bounds is not None
        first = batch.input_ids.flatten()[torch.tensor(batch.bounds)[batch.row]]
        self.asked = said(first, batch.targets).float().requires_grad_()
        return self.asked, torch.zeros_like(self.asked)
