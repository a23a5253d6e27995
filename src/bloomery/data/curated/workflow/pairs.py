"""Questions in plain English and the programs that answer them."""

from __future__ import annotations

from random import Random
from typing import Any

from bloomery.data.curated.workflow.check import metadata_for
from bloomery.data.curated.workflow.grammar import Charge, Measure, Melt, Pour, Program, Sift, Stack, Statement
from bloomery.data.curated.workflow.phrases import GROUP_WORDS, listed, say_all, say_condition
from bloomery.data.curated.workflow.sampler import sample_program

SKILL = "workflow"
_LEADS = (
    "tapline: {q}", "Write it in tapline: {q}", "Write a tapline program: {q}", "In tapline, {q}",
    "How do I say this in tapline? {q}",
    "Which tapline program does this? {q}", "{q} Use tapline.", "{q} Answer with a tapline program.",
)  # fmt: skip
_MEASURE_QUESTIONS: dict[str, tuple[str, ...]] = {
    "tally": ("how many {t} are there{w}?", "what is the number of {t}{w}?", "how many rows of {t} do we have{w}?"),
    "weigh": ("what is the sum of {c} over the {t}{w}?", "how much {c} do the {t} have altogether{w}?"),
    "level": ("what is the average {c} of the {t}{w}?", "what is the mean {c} over the {t}{w}?"),
    "peak": ("what is the largest {c} of the {t}{w}?", "what is the highest {c} among the {t}{w}?"),
    "ebb": ("what is the smallest {c} of the {t}{w}?", "what is the lowest {c} among the {t}{w}?"),
}


def pair(rng: Random, level: str, split: str) -> tuple[str, Program]:
    """One question and its program; `program` is what a right answer does, not the only right text."""
    program = sample_program(rng, level, split)
    question = _as_question(rng, program) if rng.random() < 0.5 else None
    return _lead(rng, question or _as_steps(rng, program)), program


def pair_row(rng: Random, level: str, split: str) -> dict[str, Any]:
    """A task row without its id: prompt, response, reference and the checker's metadata."""
    prompt, program = pair(rng, level, split)
    return {
        "skill": SKILL,
        "prompt": prompt,
        "response": str(program),
        "reference_answer": str(program),
        "metadata": {
            **metadata_for(program, rng.randrange(10**6)),
            "level": level,
            "statements": len(program.statements),
        },
    }


def _lead(rng: Random, question: str) -> str:
    lead = rng.choice(_LEADS)
    begins = lead.startswith("{q}") or (lead.endswith(("? {q}", ": {q}")) and rng.random() < 0.5)
    first = question[0].upper() if begins else question[0].lower()
    return lead.format(q=first + question[1:])


def _as_steps(rng: Random, program: Program) -> str:
    """'Take the orders, keep those where total is over 50 and count them.'"""
    said = say_all(rng, program.statements)
    style = rng.randrange(3)
    if style == 0 or len(said) == 1:
        return f"{listed(said)}."
    if style == 1:
        return ", then ".join(said) + "."
    return " ".join(f"{step[0].upper()}{step[1:]}." for step in said)


def _as_question(rng: Random, program: Program) -> str | None:
    """'how many orders are there where total is over 50?', for programs that are one question; else None."""
    charge, *middle = program.statements
    pour = middle.pop() if middle and isinstance(middle[-1], Pour) else None
    last = middle.pop() if middle else None
    assert isinstance(charge, Charge)
    sifts = [statement for statement in middle if isinstance(statement, Sift)]
    if len(sifts) < len(middle) or len(sifts) > 2 or pour is not None or last is None:
        return None
    where = "".join(_where(rng, sift) for sift in sifts)
    return _asked(rng, charge.table, where, last)


def _where(rng: Random, sift: Sift) -> str:
    said = say_condition(rng, sift.condition)
    return (
        rng.choice((" where {x}", " whose {x}")) if sift.keep else rng.choice((" leaving out {x}", " except where {x}"))
    ).format(x=said)


def _asked(rng: Random, table: str, where: str, last: Statement) -> str | None:
    match last:
        case Measure(kind, column):
            return rng.choice(_MEASURE_QUESTIONS[kind]).format(t=table, c=column, w=where)
        case Stack(column, measure):
            said = rng.choice(GROUP_WORDS[measure.kind]).format(k=column, c=measure.column)
            return rng.choice(("for the {t}{w}, {s}.", "over all {t}{w}, {s}.")).format(t=table, w=where, s=said)
        case Melt(column):
            return rng.choice(
                ("which {c} values do the {t} have{w}?", "what are the different {c} of the {t}{w}?")
            ).format(t=table, c=column, w=where)
        case Sift():
            said = where + _where(rng, last)
            return rng.choice(("which {t} are there{w}?", "show the {t}{w}.", "list all {t}{w}.")).format(
                t=table, w=said
            )
    return None
