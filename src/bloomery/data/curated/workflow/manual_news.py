"""Manual pages about life with the language: questions, mistakes, releases, logs."""

from __future__ import annotations

from random import Random

from bloomery.data.curated.workflow.company import COMPANY, PLACES, TABLES
from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.examples import Example, example
from bloomery.data.curated.workflow.facts import WORDS
from bloomery.data.curated.workflow.grammar import Pour
from bloomery.data.curated.workflow.interpreter import run
from bloomery.data.curated.workflow.manual_reference import said, shown, uses
from bloomery.data.curated.workflow.phrases import say
from bloomery.data.curated.workflow.table import Table
from bloomery.data.curated.workflow.transcript import program_text, result_text

_SLIPS = {
    word: tuple(slips.split())
    for word, slips in {
        "sift": "keep where filter sfit", "dross": "drop remove dros", "rank": "sort order rnak",
        "charge": "load take charg",
        "tally": "count taly", "weigh": "sum wiegh", "level": "mean levl", "peak": "max peek", "ebb": "min eb",
        "skim": "first skin", "dregs": "last dreg", "draw": "select show drwa", "stack": "group stak",
        "melt": "distinct mlet", "pour": "send por", "weld": "join wled", "forge": "make forg", "brand": "mark bran",
        "over": "above ovr", "under": "below undr", "least": "atleast leat", "most": "atmost mots", "is": "equals iss",
        "not": "isnt nott", "down": "desc dwon", "up": "asc upp",
    }.items()
}  # fmt: skip
"""What people write instead of a word of the language."""
_WHO = ("Ada", "Bram", "Cleo", "Dina", "Emil", "Fay", "Gus", "Hana", "Ivo", "June")


def mistake_page(rng: Random, split: str) -> str:
    """A wrong word, the error it gives, the repaired program."""
    while True:
        given = example(rng, split)
        wrong = _slipped(rng, str(given.program))
        error = _error(wrong, given.tables)
        if error is not None:
            return _repair(rng, given, wrong, error)


def runtime_mistake_page(rng: Random, split: str) -> str:
    """A program that parses but meets a table or column that is not there."""
    while True:
        given = example(rng, split)
        wrong = _misnamed(rng, given)
        error = _error(wrong, given.tables)
        if error is not None:
            return _repair(rng, given, wrong, error)


def faq_page(rng: Random, split: str) -> str:
    """Questions and answers on words, some with a program."""
    blocks = [
        f"{rng.choice(('Frequently asked', 'Questions and answers', 'Asked at the desk'))}, part {rng.randint(1, 200)}"
    ]
    for word in rng.sample(list(WORDS), rng.randint(2, 4)):
        facts = WORDS[word]
        asked = rng.choice((f"What does `{word}` do?", f"When do I need `{word}`?", f"How is `{word}` written?"))
        answer = f"`{word}` {rng.choice(facts.meanings)}: {facts.form}. {rng.choice(facts.facts)}"
        given = example(rng, split, "hard" if word in ("forge", "brand", "weld") else None, uses(word))
        more = f"\nFor example, to say this: {said(rng, given.program)}\n{given.listing}" if rng.random() < 0.6 else ""
        blocks.append(f"Q: {asked}\nA: {answer}{more}")
    return "\n\n".join(blocks)


def release_page(rng: Random, split: str) -> str:
    """Notes of a release: what is true of some words, with one example."""
    words = rng.sample(list(WORDS), rng.randint(3, 5))
    opening = ("The manual now says: {f}", "Clearer: {f}", "Unchanged: {f}", "Remember: {f}")
    lines = [f"- {word}. {rng.choice(opening).format(f=rng.choice(WORDS[word].facts))}" for word in words]
    given = example(rng, split, "hard" if words[0] in ("forge", "brand", "weld") else None, uses(words[0]))
    title = f"Release notes, tapline {rng.randint(2, 6)}.{rng.randint(0, 19)} ({COMPANY})"
    return "\n".join([title, "", *lines, "", f"Try `{words[0]}`. {shown(rng, given)}"])


def log_page(rng: Random, split: str) -> str:
    """An entry of the works' log: who ran what, when, and where the result went."""
    given = example(rng, split, want=lambda program: len(program.statements) > 2)
    hour = f"{rng.randint(0, 23):02d}:{rng.randrange(0, 60, 5):02d}"
    pours = [statement for statement in given.program.statements if isinstance(statement, Pour)]
    end = say(rng, pours[0]) if pours else f"nothing was poured; {rng.choice(PLACES)} was told by hand"
    entry = rng.choice((
        f"{hour} {rng.choice(_WHO)} ran this for {rng.choice(PLACES)}.",
        f"Night log, {hour}. {rng.choice(_WHO)} at the board.",
        f"{COMPANY}, day {rng.randint(1, 360)}, {hour}. Program by {rng.choice(_WHO)}.",
    ))  # fmt: skip
    return "\n".join(
        [
            entry,
            "",
            given.data,
            given.listing,
            given.result,
            "",
            f"Asked for: {said(rng, given.program)}",
            f"End: {end}.",
        ]
    )


def _repair(rng: Random, given: Example, wrong: str, error: WorkflowError) -> str:
    title = rng.choice(("Common mistakes", "What went wrong?", "Error and repair", "Repairing a program"))
    hint = rng.choice(
        (
            f"Line {error.line} is wrong: it has `{error.found}`.",
            f"The error names line {error.line} and `{error.found}`.",
        )
    )
    good = str(given.program).split("\n")[error.line - 1]
    repaired = rng.choice((f"Write `{good}` there.", f"The line should be `{good}`.", f"Right is `{good}`."))
    lines = [
        title,
        "",
        f"Wanted: {said(rng, given.program)}",
        "",
        given.data,
        program_text(wrong),
        result_text(wrong, given.tables),
    ]
    return "\n".join([*lines, "", hint, repaired, "", given.listing, given.result])


def _slipped(rng: Random, program: str) -> str:
    """The program with one of its words replaced by what people write instead."""
    lines = [line.split(" ") for line in program.split("\n")]
    places = [(i, j) for i, line in enumerate(lines) for j, token in enumerate(line) if token in _SLIPS]
    i, j = rng.choice(places)
    lines[i][j] = rng.choice(_SLIPS[lines[i][j]])
    return "\n".join(" ".join(line) for line in lines)


def _misnamed(rng: Random, given: Example) -> str:
    """The program with the name of a table or column misspelt, or taken from another table."""
    lines = [line.split(" ") for line in str(given.program).split("\n")]
    names = {name for shown in given.tables.values() for name in shown.columns} | set(given.tables)
    i, j = rng.choice([(i, j) for i, line in enumerate(lines) for j, token in enumerate(line) if token in names])
    word = lines[i][j]
    cut = rng.randrange(1, len(word))
    strangers = [column for columns in TABLES.values() for column in columns if column not in names]
    lines[i][j] = rng.choice((word[:cut] + word[cut + 1 :], word + "s", rng.choice(strangers)))
    return "\n".join(" ".join(line) for line in lines)


def _error(program: str, tables: dict[str, Table]) -> WorkflowError | None:
    try:
        run(program, tables)
    except WorkflowError as error:
        return error
    return None
