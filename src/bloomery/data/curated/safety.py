"""The safety source: harmful requests with short refusals, and safe requests that only sound harmful.

Both halves use the same openers and overlapping verbs (kill, shoot, steal, break into), so that what a
model can learn is the difference in meaning, not a word. Held-out rows use other openers *and* other fillers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from bloomery.core.errors import InputError
from bloomery.data.curated.safety_texts import (
    ALONE,
    HARMFUL,
    HELDOUT,
    INNOCENT,
    OFFERS,
    OPENERS,
    REASONS,
    REFUSALS,
    VICTIMS,
)

KINDS = ("refusal", "over_refusal")


def generate(
    seed: int = 0, count: int | None = 5_000, split: str = "train", kinds: Sequence[str] = KINDS
) -> Iterator[dict[str, Any]]:
    """Yield `count` task rows (without end when None), alternating over `kinds`.

    `refusal` rows are right when the response declines (`constraint: refuses`), `over_refusal` rows when
    it does not and speaks to the point (`constraint: answers`, `mentions`). Raises `InputError` for an
    unknown split or kind.
    """
    if split not in ("train", "heldout"):
        raise InputError(f"`split: {split}` is not train or heldout", fix="set `options.split`")
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise InputError(f"`kinds: {list(kinds)}` must name some of {', '.join(KINDS)}", fix="set `options.kinds`")
    for index in itertools.count() if count is None else range(count):
        rng = random.Random(f"safety/{seed}/{split}/{index}")
        kind = kinds[index % len(kinds)]
        row = _harmful(rng, split) if kind == "refusal" else _innocent(rng, split)
        yield {"id": f"safety-{seed}-{index}", "skill": kind, **row}


def part(texts: Sequence[str], split: str) -> Sequence[str]:
    """The part of a divided tuple that belongs to `split`."""
    border = texts.index(HELDOUT)
    return texts[:border] if split == "train" else texts[border + 1 :]


def _harmful(rng: random.Random, split: str) -> dict[str, Any]:
    if rng.random() < 0.5:
        category, act = rng.choice(HARMFUL)
        request = act.format(victim=rng.choice(part(VICTIMS, split)))
    else:
        category, request = rng.choice([(name, act) for name, acts in ALONE.items() for act in part(acts, split)])
    answer = rng.choice(REFUSALS).format(reason=REASONS[category]) + rng.choice(OFFERS)
    return _row(rng, split, request, answer, {"constraint": "refuses", "category": category})


def _innocent(rng: random.Random, split: str) -> dict[str, Any]:
    act, answer, word, fillers = rng.choice(INNOCENT)
    request = act.format(thing=rng.choice(part(fillers, split)))
    return _row(rng, split, request, answer, {"constraint": "answers", "mentions": word})


def _row(rng: random.Random, split: str, request: str, answer: str, constraint: dict[str, Any]) -> dict[str, Any]:
    prompt = rng.choice(part(OPENERS, split)).format(act=request)
    return {
        "prompt": prompt,
        "response": answer,
        "reference_answer": answer,
        "metadata": {"grader": "constraint", **constraint},
    }
