"""Copying, picking, counting and ordering the items of a list."""

from __future__ import annotations

import random

from bloomery.data.curated.skills.problem import Problem, joined, phrase
from bloomery.data.curated.skills.words import ORDINALS, draw_words

_COPY = (
    "Copy this text: {list}", "Repeat after me: {list}", "Write exactly this: {list}", "Say this again: {list}",
    "Echo: {list}",
)  # fmt: skip
_REVERSE = (
    "Reverse this list: {list}", "Write these words in reverse order: {list}", "List these backwards: {list}",
    "Turn the order around: {list}",
)  # fmt: skip
_COUNT = (
    "How many items are in this list: {list}?", "Count the words: {list}", "How many words are there? {list}",
    "Give the number of items: {list}",
)  # fmt: skip
_NTH = (
    "What is the {nth} word in this list: {list}?", "Name the {nth} item: {list}", "Which word comes {nth}? {list}",
    "Pick the {nth} item of: {list}", "From the list {list}, give the {nth} item.",
)  # fmt: skip
_SORT = (
    "Sort these words alphabetically: {list}", "Put these words in alphabetical order: {list}",
    "Order these words from A to Z: {list}", "Sort from A to Z: {list}",
)  # fmt: skip
_AFTER = (
    "Which word comes right after {word} in this list: {list}?", "In the list {list}, what follows {word}?",
    "What comes after {word}? {list}",
)  # fmt: skip
_BEFORE = (
    "Which word comes right before {word} in this list: {list}?", "In the list {list}, what stands before {word}?",
    "What comes before {word}? {list}",
)  # fmt: skip
_LINES = (
    "Write each item on its own line: {list}", "Put one word per line: {list}", "Make a list with dashes: {list}",
)  # fmt: skip


def copy(rng: random.Random) -> Problem:
    """Two to eight words, repeated exactly; some with commas, some without."""
    words = draw_words(rng, 2, 8)
    text = rng.choice((" ", ", ")).join(words)
    return Problem(text, phrase(rng, _COPY, list=text), text)


def reverse(rng: random.Random) -> Problem:
    """Three to six words, last first."""
    words = draw_words(rng, 3, 6)
    backwards = joined(words[::-1])
    return Problem(joined(words), phrase(rng, _REVERSE, list=joined(words)), backwards, f"the last is {words[-1]}")


def count_items(rng: random.Random) -> Problem:
    """How many words, one to nine."""
    words = draw_words(rng, 1, 9)
    counted = joined([f"{word} {number}" for number, word in enumerate(words, 1)])
    return Problem(joined(words), phrase(rng, _COUNT, list=joined(words)), str(len(words)), counted)


def nth_item(rng: random.Random) -> Problem:
    """The first to sixth or the last item."""
    words = draw_words(rng, 3, 6)
    index = rng.randrange(len(words))
    nth = "last" if index == len(words) - 1 and rng.random() < 0.5 else ORDINALS[index]
    counted = joined([f"{number} {word}" for number, word in enumerate(words, 1)])
    return Problem(f"{nth} {joined(words)}", phrase(rng, _NTH, list=joined(words), nth=nth), words[index], counted)


def sort_words(rng: random.Random) -> Problem:
    """Three or four words from A to Z."""
    words = draw_words(rng, 3, 4)
    letters = joined([f"{word} {word[0]}" for word in words])
    return Problem(joined(words), phrase(rng, _SORT, list=joined(words)), joined(sorted(words)), letters)


def neighbour(rng: random.Random) -> Problem:
    """The word right after or before another."""
    words = draw_words(rng, 3, 7)
    after = rng.random() < 0.5
    index = rng.randrange(0, len(words) - 1) if after else rng.randrange(1, len(words))
    prompt = phrase(rng, _AFTER if after else _BEFORE, word=words[index], list=joined(words))
    return Problem(f"{after} {words[index]} {joined(words)}", prompt, words[index + (1 if after else -1)])


def one_per_line(rng: random.Random) -> Problem:
    """A list in one line, written as lines, with dashes where the question asks for them."""
    words = draw_words(rng, 2, 6)
    template = rng.choice(_LINES)
    mark = "- " if "dashes" in template else ""
    return Problem(joined(words), template.format(list=joined(words)), "\n".join(mark + word for word in words))
