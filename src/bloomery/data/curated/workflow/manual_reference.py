"""Manual pages to look things up in: words, relations, tables, a glossary."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bloomery.data.curated.workflow.company import COMPANY, LOOKUPS, TABLES, Span, sample_table
from bloomery.data.curated.workflow.examples import Example, example
from bloomery.data.curated.workflow.facts import RELATION_FACTS, WORDS, Facts
from bloomery.data.curated.workflow.grammar import Brand, Program, Sift
from bloomery.data.curated.workflow.phrases import listed, say_all
from bloomery.data.curated.workflow.transcript import table_text

_RARE = ("forge", "brand", "weld")
"""Words that only hard programs use."""


def uses(word: str) -> Callable[[Program], bool]:
    """Whether a program has a line that begins with the word."""
    return lambda program: any(str(statement).split()[0] == word for statement in program.statements)


def shown(rng: Random, given: Example) -> str:
    """An example in full: its tables, the program, the result, with a word of introduction now and then."""
    intro = rng.choice(("Given", "With this data", "Suppose the works has", "Data", "For instance, with"))
    then = rng.choice(("this program", "the program", "run", "we write", "one writes"))
    return f"{intro}:\n{given.data}\n{then}:\n{given.listing}\n{given.result}"


def said(rng: Random, program: Program) -> str:
    """A program as one English sentence."""
    text = rng.choice((listed(say_all(rng, program.statements)), ", then ".join(say_all(rng, program.statements))))
    return f"{text[0].upper()}{text[1:]}."


def keyword_page(rng: Random, split: str) -> str:
    """One statement: form, meaning, facts, example."""
    word, facts = rng.choice(list(WORDS.items()))
    given = example(rng, split, "hard" if word in _RARE else None, uses(word))
    title = rng.choice(
        (f"tapline reference: {word}", f"{word}", f"The word `{word}`", f"{COMPANY} manual, section {word}")
    )
    body = [f"Form: {facts.form}", f"`{word}` {rng.choice(facts.meanings)}.", *_some(rng, facts)]
    if rng.random() < 0.4:
        body.append(f"In words: {said(rng, given.program)}")
    return "\n".join([title, "", *body, "", shown(rng, given)])


def relation_page(rng: Random, split: str) -> str:
    """One relation: form, meaning, a program that tests with it."""
    relation, facts = rng.choice(list(RELATION_FACTS.items()))
    level = "hard" if relation == "has" else None
    given = example(rng, split, level, lambda program: any(t == relation for t in _relations(program)))
    title = rng.choice(
        (f"tapline reference: the relation {relation}", f"Tests with `{relation}`", f"Relation {relation}")
    )
    body = [f"Form: {facts.form}", f"`{relation}` {facts.meanings[0]}.", *facts.facts]
    return "\n".join([title, "", *body, "", shown(rng, given), f"In words: {said(rng, given.program)}"])


def table_page(rng: Random, split: str) -> str:
    """One table of the company: its columns, what they hold, a few rows, a program on it."""
    name = rng.choice([name for name in TABLES if name not in LOOKUPS])
    lines = [f"- {column}: {_holds(rng, kind)}" for column, kind in TABLES[name].items()]
    rows = table_text(name, sample_table(rng, name, rng.randint(2, 4)))
    given = example(rng, split, want=lambda program: str(program.statements[0]) == f"charge {name}")
    title = rng.choice((f"The table {name}", f"Tables of {COMPANY}: {name}", f"tapline tables: {name}"))
    welds = [other for other, key in LOOKUPS.items() if key in TABLES[name]]
    joins = [f"It can be welded with {listed(welds)}."] if welds else ["No other table shares a column with it."]
    use = f"A program on it: {said(rng, given.program)}\n{given.listing}"
    return "\n".join([title, "", f"`charge {name}` loads it. Columns:", *lines, *joins, "", rows, "", use])


def glossary_page(rng: Random, split: str) -> str:
    """A few words with their meanings, and one program that uses the first of them."""
    words = rng.sample(list(WORDS), rng.randint(4, 7))
    lines = [f"{word}: {rng.choice(WORDS[word].meanings)}. Form: {WORDS[word].form}" for word in words]
    given = example(rng, split, "hard" if words[0] in _RARE else None, uses(words[0]))
    title = rng.choice(("Glossary", "Words of tapline", f"Short glossary for new hands at {COMPANY}"))
    return "\n".join([title, "", *lines, "", f"{words[0]} in use:", given.listing, f"({said(rng, given.program)})"])


def _some(rng: Random, facts: Facts) -> list[str]:
    return rng.sample(facts.facts, rng.randint(1, min(3, len(facts.facts))))


def _relations(program: Program) -> list[str]:
    conditions = [s.condition for s in program.statements if isinstance(s, Sift | Brand)]
    return [test.relation for condition in conditions for test in condition.tests]


def _holds(rng: Random, kind: Span | tuple[str, ...]) -> str:
    if isinstance(kind, Span):
        return f"a number from {kind.low} to {kind.high}"
    return f"text, such as {listed(rng.sample(kind, min(3, len(kind))))}"
