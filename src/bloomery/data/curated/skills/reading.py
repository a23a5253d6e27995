"""Finding an answer in a text: small tables and small generated worlds."""

from __future__ import annotations

import random

from bloomery.data.curated.skills.problem import Problem, phrase
from bloomery.data.curated.skills.words import COLOURS, FOODS, NAMES, OBJECTS, PLACES

_COLUMNS = ("colour", "place", "price", "food")
_CELL = (
    "What is the {column} of {name}?", "Look up the {column} of {name}.", "Give the {column} for {name}.",
    "Which {column} belongs to {name}?",
)  # fmt: skip
_MOVES = (
    "{name} is in the {place}.", "{name} went to the {place}.", "{name} walked to the {place}.",
    "{name} moved to the {place}.",
)  # fmt: skip
_WHERE = ("Where is {name}?", "In which place is {name}?", "Where is {name} now?")
_TAKES = (
    "{name} has the {thing}.",
    "{name} took the {thing}.",
    "{name} bought a {thing}.",
    "{name} carries the {thing}.",
)
_WHO = ("Who has the {thing}?", "Which person has the {thing}?")
_WHAT = ("What does {name} have?", "Which thing does {name} have?")
_IS = ("The {thing} is {colour}.", "{name} painted the {thing} {colour}.")
_COLOUR = ("What colour is the {thing}?", "Which colour does the {thing} have?")


def table(rng: random.Random) -> Problem:
    """One cell of a markdown table of two to four rows and two or three columns."""
    names = rng.sample(NAMES, rng.randint(2, 4))
    columns = rng.sample(_COLUMNS, rng.randint(1, 2))
    cells = {(name, column): _cell(rng, column) for name in names for column in columns}
    lines = ["| name | " + " | ".join(columns) + " |", "|" + " --- |" * (len(columns) + 1)]
    lines += [f"| {name} | " + " | ".join(cells[name, column] for column in columns) + " |" for name in names]
    name, column = rng.choice(names), rng.choice(columns)
    text = "\n".join(lines)
    prompt = f"{text}\n\n{phrase(rng, _CELL, column=column, name=name)}"
    return Problem(f"{name} {column} {text}", prompt, cells[name, column], f"row {name}, column {column}")


def _cell(rng: random.Random, column: str) -> str:
    kinds = {"colour": COLOURS, "place": PLACES, "food": FOODS}
    return rng.choice(kinds[column]) if column in kinds else str(rng.randint(1, 99))


def location(rng: random.Random) -> Problem:
    """Where somebody is after two to five moves, the last of which counts."""
    people = rng.sample(NAMES, rng.randint(2, 3))
    where: dict[str, str] = {}
    sentences = []
    for name in [*people, *rng.choices(people, k=rng.randint(0, 2))]:
        where[name] = rng.choice([place for place in PLACES if place != where.get(name)])
        sentences.append(phrase(rng, _MOVES, name=name, place=where[name]))
    name = rng.choice(people)
    story = " ".join(sentences)
    prompt = f"{story} {phrase(rng, _WHERE, name=name)}"
    return Problem(f"{name} {story}", prompt, f"in the {where[name]}", f"{name} was last in the {where[name]}")


def possession(rng: random.Random) -> Problem:
    """Who has a thing, or what somebody has, among two to four people."""
    people = rng.sample(NAMES, rng.randint(2, 4))
    things = rng.sample(OBJECTS, len(people))
    story = " ".join(phrase(rng, _TAKES, name=n, thing=t) for n, t in zip(people, things, strict=True))
    name, thing = rng.choice(list(zip(people, things, strict=True)))
    who = rng.random() < 0.5
    question = phrase(rng, _WHO, thing=thing) if who else phrase(rng, _WHAT, name=name)
    return Problem(f"{who} {name} {story}", f"{story} {question}", name if who else thing, f"{name} has the {thing}")


def colour(rng: random.Random) -> Problem:
    """The colour of one of two to four things."""
    things = rng.sample(OBJECTS, rng.randint(2, 4))
    colours = {thing: rng.choice(COLOURS) for thing in things}
    sentences = [phrase(rng, _IS, thing=t, colour=c, name=rng.choice(NAMES)) for t, c in colours.items()]
    thing = rng.choice(things)
    story = " ".join(sentences)
    prompt = f"{story} {phrase(rng, _COLOUR, thing=thing)}"
    return Problem(f"{thing} {story}", prompt, colours[thing], f"the {thing} is {colours[thing]}")
