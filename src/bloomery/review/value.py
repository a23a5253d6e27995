"""What a label is worth: the cost of deciding without it, for texts that stand for many."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bloomery.review.queue import Item
from bloomery.review.scores import Array
from bloomery.review.spec import ClassifierSpec

BUCKETS = 1 << 12
"""Words are hashed to so many columns."""
DENSITY = 0.5
"""Exponent of density; Settles and Craven (EMNLP 2008) use 1, which on short texts prefers empty phrases (ours)."""

_WORD = re.compile(r"\w+")


def risk_avoided(p: Array, costs: Sequence[float]) -> Array:
    """Expected cost [n] of the best decision without the label, which the label would avoid.

    This is the expected value of perfect information: the least over decisions a of the sum of p(y) * cost(y) over
    y other than a (value of a label in Kapoor, Horvitz and Basu, IJCAI 2007). At equal costs it is 1 - max p.
    """
    cost = p * np.array(costs)
    found: Array = (cost.sum(axis=1, keepdims=True) - cost).min(axis=1)
    return found


def density(texts: Sequence[str]) -> Array:
    """How much each text is like the others: mean cosine of its words, weighted by rarity, with all texts; [n]."""
    counts = [Counter(_bucket(word) for word in _WORD.findall(text.lower())) for text in texts]
    seen = np.zeros(BUCKETS)
    for one in counts:
        seen[list(one)] += 1
    rarity = np.log((1 + len(texts)) / (1 + seen)) + 1
    middle = np.zeros(BUCKETS)
    vectors = []
    for one in counts:
        place = np.fromiter(one, np.int64, len(one))
        weight = (1 + np.log(np.fromiter(one.values(), np.float64, len(one)))) * rarity[place]
        weight = weight / max(float(np.linalg.norm(weight)), 1e-12)
        middle[place] += weight / len(texts)
        vectors.append((place, weight))
    return np.array([float(weight @ middle[place]) for place, weight in vectors])


def to_items(
    spec: ClassifierSpec,
    rows: Sequence[Mapping[str, Any]],
    p: Mapping[str, Array],
    *,
    spread: float = DENSITY,
    effort: Sequence[float] | None = None,
) -> list[Item]:
    """Every row under every question, with its value: risk avoided x density ** `spread` / effort.

    `effort` is what a label of each row costs a person, in any unit; left out, each costs the same.
    """
    texts = [spec.lead(row) + " ".join(str(row[column]) for column in spec.columns) for row in rows]
    near = density(texts) ** spread if spread and len(rows) > 1 else np.ones(len(rows))
    near = near / np.array(effort) if effort is not None else near
    found = []
    for question in spec.questions:
        names, value = spec.names(question), risk_avoided(p[question], spec.costs(question)) * near
        for number, row in enumerate(rows):
            scores = dict(zip(names, p[question][number].tolist(), strict=True))
            found.append(Item(str(row.get("id", number)), question, row, names, scores, float(value[number])))
    return found


def _bucket(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % BUCKETS
