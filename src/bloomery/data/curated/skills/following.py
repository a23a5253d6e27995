"""Following an instruction about the form of the answer, whatever its content."""

from __future__ import annotations

import random
from collections.abc import Callable

from bloomery.data.curated.skills.problem import Problem, phrase
from bloomery.data.curated.skills.words import COLOURS, NATURE, OBJECTS, PLACES

_FACT = (
    "The {thing} in the {place} is {colour}.", "In the {place} there is a {colour} {thing}.",
    "We keep a {colour} {thing} in the {place}.",
)  # fmt: skip
_ASK = ("What colour is the {thing}?", "Describe the {thing}.", "Tell me about the {thing}.")
_OPENERS = ("Well", "Yes", "Sure", "Look", "Indeed", "Clearly", "Today", "Listen", "Now", "So")
_CLOSERS = ("thanks", "friend", "indeed", "today", "now", "goodbye", "please", "okay")

_Form = Callable[[random.Random, str, str], tuple[str, str, dict[str, object]]]
"""Given a thing and a colour: the instruction, an answer that meets it and the constraint's arguments."""


def following(rng: random.Random) -> Problem:
    """A fact, a question about it and one demand on the form of the answer."""
    thing, colour, place = rng.choice(OBJECTS), rng.choice(COLOURS), rng.choice(PLACES)
    form = rng.choice(FORMS)
    demand, answer, constraint = form(rng, thing, colour)
    fact = phrase(rng, _FACT, thing=thing, colour=colour, place=place)
    question = phrase(rng, _ASK, thing=thing)
    prompt = f"{demand} {fact} {question}" if rng.random() < 0.3 else f"{fact} {question} {demand}"
    metadata = {"grader": "constraint", **constraint, "mentions": colour}
    return Problem(f"{form.__name__} {thing} {colour} {place} {constraint}", prompt, answer, metadata=metadata)


def _capitals(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    demand = rng.choice(("Answer in capitals.", "Use only capital letters.", "Write your answer in uppercase."))
    return demand, f"THE {thing} IS {colour}.".upper(), {"constraint": "uppercase"}


def _small_letters(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    demand = rng.choice(("Answer in lowercase.", "Use only small letters.", "Do not use capital letters."))
    return demand, f"the {thing} is {colour}.", {"constraint": "lowercase"}


def _word_count(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    answers = (f"{colour}", f"{colour} {thing}", f"a {colour} {thing}", f"the {thing} is {colour}",
               f"the {thing} here is {colour}", f"the {thing} that you see is {colour}")  # fmt: skip
    answer = rng.choice(answers)
    count = len(answer.split())
    number = ("zero", "one", "two", "three", "four", "five", "six", "seven")[count]
    words = "word" if count == 1 else "words"
    demand = rng.choice(("Answer in {n} {w}.", "Use exactly {n} {w}.", "Reply with {n} {w}.")).format(n=number, w=words)
    return demand, answer, {"constraint": "words", "count": count}


def _start(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    word = rng.choice(_OPENERS)
    demand = rng.choice(("Start with the word {w}.", "Begin your answer with {w}.", "Your first word must be {w}."))
    return demand.format(w=word), f"{word}, the {thing} is {colour}.", {"constraint": "starts_with", "text": word}


def _end(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    word = rng.choice(_CLOSERS)
    demand = rng.choice(("End with the word {w}.", "Finish your answer with {w}.", "Your last word must be {w}."))
    return demand.format(w=word), f"The {thing} is {colour}, {word}", {"constraint": "ends_with", "text": word}


def _mark(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    mark, name = rng.choice(((".", "full stop"), ("!", "exclamation mark"), ("?", "question mark")))
    demand = rng.choice(("End with a {name}.", "Finish with a {name}.", "The last character must be a {name}."))
    demand = demand.replace("a {name}", "an {name}" if name[0] == "e" else "a {name}").format(name=name)
    return demand, f"The {thing} is {colour}{mark}", {"constraint": "ends_with", "text": mark}


def _quotes(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    demand = rng.choice(("Put your answer in quotation marks.", "Answer in quotes.", "Wrap the answer in quotes."))
    return demand, f'"The {thing} is {colour}."', {"constraint": "quoted"}


def _use_word(rng: random.Random, thing: str, colour: str) -> tuple[str, str, dict[str, object]]:
    word = rng.choice(NATURE)
    demand = rng.choice(("Use the word {w}.", "Your answer must contain the word {w}.", "Mention the word {w}."))
    return demand.format(w=word), f"The {thing} is {colour}, like the {word}.", {"constraint": "contains", "text": word}


FORMS: tuple[_Form, ...] = (_capitals, _small_letters, _word_count, _start, _end, _mark, _quotes, _use_word)
