"""Editing a short sentence: letter case, replacing and removing a word."""

from __future__ import annotations

import random

from bloomery.data.curated.skills.problem import Problem, phrase
from bloomery.data.curated.skills.words import COLOURS, NAMES, OBJECTS, PLACES, draw_words

_UPPER = (
    "Write in capitals: {text}", "Change to uppercase: {text}", "Put this in capital letters: {text}",
    "Make this text uppercase: {text}",
)  # fmt: skip
_LOWER = (
    "Write in small letters: {text}", "Change to lowercase: {text}", "Make this text lowercase: {text}",
)  # fmt: skip
_REPLACE = (
    "Replace {old} with {new}: {text}", "Change the word {old} to {new}: {text}",
    "In this text, write {new} instead of {old}: {text}", "Swap {old} for {new} in: {text}",
)  # fmt: skip
_REMOVE = (
    "Remove the word {old}: {text}", "Delete {old} from this text: {text}", "Leave out {old}: {text}",
)  # fmt: skip


def letter_case(rng: random.Random) -> Problem:
    """Two to five words in capitals or in small letters."""
    text = " ".join(draw_words(rng, 2, 5))
    if rng.random() < 0.7:
        return Problem(f"upper {text}", phrase(rng, _UPPER, text=text), text.upper())
    return Problem(f"lower {text}", phrase(rng, _LOWER, text=text.upper()), text)


def replace_word(rng: random.Random) -> Problem:
    """One word of a sentence or of a word list replaced by another."""
    words = _sentence(rng) if rng.random() < 0.5 else draw_words(rng, 3, 6)
    old = rng.choice([word for word in words if word in OBJECTS or word in COLOURS or len(words) < 7])
    new = rng.choice([word for word in OBJECTS if word not in words])
    text = " ".join(words)
    edited = " ".join(new if word == old else word for word in words)
    return Problem(f"{old}>{new} {text}", phrase(rng, _REPLACE, old=old, new=new, text=text), edited)


def remove_word(rng: random.Random) -> Problem:
    """A word list without one of its words."""
    words = draw_words(rng, 3, 6)
    old = rng.choice(words)
    text = " ".join(words)
    return Problem(f"-{old} {text}", phrase(rng, _REMOVE, old=old, text=text), " ".join(w for w in words if w != old))


def _sentence(rng: random.Random) -> list[str]:
    name, colour, thing, place = (rng.choice(kind) for kind in (NAMES, COLOURS, OBJECTS, PLACES))
    return f"{name} put the {colour} {thing} in the {place}".split()
