"""Manual pages to learn from: tutorials, how-tos, worked examples, exercises."""

from __future__ import annotations

from random import Random

from bloomery.data.curated.workflow.company import COMPANY
from bloomery.data.curated.workflow.examples import Example, example, tables_for
from bloomery.data.curated.workflow.facts import WORDS
from bloomery.data.curated.workflow.grammar import Clause, Condition, Program, Rank, Sift, Skim, Statement
from bloomery.data.curated.workflow.manual_reference import said, shown
from bloomery.data.curated.workflow.pairs import pair
from bloomery.data.curated.workflow.phrases import say
from bloomery.data.curated.workflow.sampler import sample_program, split_of
from bloomery.data.curated.workflow.transcript import program_text

_OPPOSITE = {"over": "most", "most": "over", "under": "least", "least": "under", "is": "not", "not": "is"}


def tutorial_page(rng: Random, split: str) -> str:
    """A program built line by line, with the size of the flow after each."""
    given = example(rng, split, want=lambda program: len(program.statements) > 2)
    title = rng.choice(("Tutorial", "Step by step", f"First days at {COMPANY}", "Lesson"))
    lines = [f"{title}: {said(rng, given.program)}", "", "The data:", given.data, ""]
    for index, statement in enumerate(given.program.statements, start=1):
        lines.append(f"Step {index}. To {say(rng, statement)}, write `{statement}`. {_flow(rng, given, index)}")
    return "\n".join([*lines, "", "The whole program:", given.listing, given.result])


def howto_page(rng: Random, split: str) -> str:
    """A question and the program for it, with a word on each line."""
    prompt, program = pair(rng, rng.choice(("easy", "easy", "hard")), split)
    title = rng.choice(("How to", "How do I do this?", "Recipe", f"Asked at {COMPANY}"))
    why = "\n".join(f"- `{statement}` {_meaning(rng, statement)}." for statement in program.statements)
    return "\n".join(
        [title, "", prompt, "", program_text(program), "", rng.choice(("Line by line:", "Why:", "Notes:")), why]
    )


def worked_page(rng: Random, split: str) -> str:
    """Data, program, result."""
    given = example(rng, split)
    title = rng.choice(("Worked example", "Example", "A small run", f"From the books of {COMPANY}"))
    words = rng.choice(
        (
            f"Task: {said(rng, given.program)}",
            f"In words: {said(rng, given.program)}",
            f"Wanted: {said(rng, given.program)}",
        )
    )
    return "\n".join([f"{title} {rng.randint(1, 400)}", "", words, shown(rng, given)])


def reading_page(rng: Random, split: str) -> str:
    """A program read aloud."""
    given = example(rng, split)
    title = rng.choice(("Reading a program", "What does this program do?", "Read it aloud"))
    ways = [
        f"{index}. `{statement}`: {say(rng, statement)}" for index, statement in enumerate(given.program.statements, 1)
    ]
    return "\n".join([title, "", given.listing, "", *ways, "", f"All in one sentence: {said(rng, given.program)}"])


def two_ways_page(rng: Random, split: str) -> str:
    """Two programs with one result: `sift` with a test, `dross` with its opposite."""
    while True:
        program = sample_program(rng, "easy", split)
        other = _turned(program)
        if other and split_of(other) == split:
            break
    tables = tables_for(rng, program)
    first, second = Example(program, tables), Example(other, tables)
    intro = rng.choice(("Two ways to one result", "The same, said otherwise", "`sift` and `dross` are opposites"))
    return "\n".join(
        [
            intro,
            "",
            first.data,
            "",
            first.listing,
            first.result,
            "",
            "gives the same as",
            "",
            second.listing,
            second.result,
        ]
    )


def change_page(rng: Random, split: str) -> str:
    """A program, one line changed, and how the result changes on the same data."""
    while True:
        given = example(rng, split)
        changed = _changed(rng, given.program)
        if changed and split_of(changed) == split:
            break
    after = Example(changed, given.tables)
    at = next(i for i, (a, b) in enumerate(zip(given.program.statements, changed.statements, strict=True)) if a != b)
    note = f"Now change line {at + 1} to `{changed.statements[at]}`, that is, {say(rng, changed.statements[at])}:"
    return "\n".join(
        ["Change one line", "", given.data, given.listing, given.result, "", note, after.listing, after.result]
    )


def exercise_page(rng: Random, split: str) -> str:
    """Questions with their answers."""
    title = rng.choice(("Exercises", "Practice", "Questions for the night shift", "Test yourself"))
    blocks = []
    for number in range(1, rng.randint(2, 4) + 1):
        prompt, program = pair(rng, rng.choice(("easy", "easy", "easy", "hard")), split)
        blocks.append(f"{number}. {prompt}\n{program_text(program)}")
    return "\n\n".join([f"{title}, sheet {rng.randint(1, 999)}", *blocks])


def _flow(rng: Random, given: Example, statements: int) -> str:
    size = given.size_after(statements)
    if size is None:
        return "The flow is a number."
    rows = "one row" if size == 1 else f"{size} rows"
    return rng.choice(("The flow has {r}.", "That leaves {r}.", "Now the flow holds {r}.")).format(r=rows)


def _meaning(rng: Random, statement: Statement) -> str:
    return rng.choice(WORDS[str(statement).split()[0]].meanings)


def _turned(program: Program) -> Program | None:
    """The program with its one-test `sift` or `dross` turned into the other word and the opposite relation."""
    for index, statement in enumerate(program.statements):
        if isinstance(statement, Sift) and len(statement.condition.tests) == 1:
            test = statement.condition.tests[0]
            if test.relation in _OPPOSITE:
                opposite = Clause(test.column, _OPPOSITE[test.relation], test.value)
                turned = Sift(Condition((opposite,)), not statement.keep)
                return Program((*program.statements[:index], turned, *program.statements[index + 1 :]))
    return None


def _changed(rng: Random, program: Program) -> Program | None:
    """The program with one line changed so that it still runs; None where no line can be."""
    at = rng.randrange(len(program.statements))
    statement = program.statements[at]
    new: Statement | None = None
    match statement:
        case Skim(count, first):
            new = rng.choice((Skim(count, not first), Skim(count + 1, first)))
        case Rank(column, direction):
            new = Rank(column, "up" if direction == "down" else "down")
        case Sift(condition, keep):
            new = Sift(condition, not keep)
    return Program((*program.statements[:at], new, *program.statements[at + 1 :])) if new else None
