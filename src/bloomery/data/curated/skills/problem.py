"""One instance of a skill, and the split that keeps held-out instances out of every training stage."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

HELDOUT_ONE_IN = 7
"""One instance in this many is held out: the smallest space (products) must still hold out a hundred."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with the one right answer, or with a constraint that an answer must meet.

    `key` names the instance apart from its phrasing: an instance is held out under all of its
    phrasings. `steps` is the worked solution that mid-training shows. `metadata` holds `grader`
    (exact, number or constraint) and the grader's arguments.
    """

    key: str
    prompt: str
    answer: str
    steps: str = ""
    metadata: Mapping[str, object] = field(default_factory=lambda: {"grader": "exact"})


Skill = Callable[[random.Random], Problem]
"""Draws one instance and one phrasing of it; everything random comes from the generator it is given."""


def is_heldout(skill: str, key: str) -> bool:
    """Whether an instance is held out; a pure function of the skill's name and the instance."""
    return int(hashlib.sha256(f"{skill}|{key}".encode()).hexdigest()[:8], 16) % HELDOUT_ONE_IN == 0


def phrase(rng: random.Random, phrasings: Sequence[str], **values: object) -> str:
    """One of the phrasings, filled in."""
    return rng.choice(phrasings).format(**values)


def joined(items: Sequence[object]) -> str:
    """Items as people list them: `a, b, c`."""
    return ", ".join(map(str, items))
