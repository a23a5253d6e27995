"""Text to `Program`. Anything else raises `WorkflowError`, whatever the text is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.grammar import (
    COLUMN_MEASURES,
    DIRECTIONS,
    JOINERS,
    KEYWORDS,
    MEASURES,
    NAME,
    NUMBER,
    NUMBER_RELATIONS,
    OPERATORS,
    RELATIONS,
    RESERVED,
    TEXT,
    Brand,
    Charge,
    Clause,
    Condition,
    Draw,
    Forge,
    Measure,
    Melt,
    Number,
    Pour,
    Program,
    Rank,
    Sift,
    Skim,
    Stack,
    Statement,
    Value,
    Weld,
)

MAX_CHARS = 4000
MAX_STATEMENTS = 24
MAX_TESTS = 4
MAX_COUNT = 10_000
_TOKEN = re.compile(r'"[^"]*"?|[^\s"]+')
_END = "end of line"


def parse(text: str) -> Program:
    """Read a program: one statement a line, blank lines and indentation ignored.

    Raises `WorkflowError` naming the first line that is wrong. Work is linear in the text, which may have at
    most 4,000 characters and 24 statements.
    """
    if len(text) > MAX_CHARS:
        raise WorkflowError(1, f"{len(text)} characters", f"at most {MAX_CHARS}")
    statements: list[Statement] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(statements) == MAX_STATEMENTS:
            raise WorkflowError(number, line.strip(), f"the end: at most {MAX_STATEMENTS} statements")
        statement = _Line(number, line).statement()
        _check_flow(number, statement, statements)
        statements.append(statement)
        lines.append(number)
    if not statements:
        raise WorkflowError(1, "nothing", "`charge` and a table")
    return Program(tuple(statements), tuple(lines))


def _check_flow(line: int, statement: Statement, before: Sequence[Statement]) -> None:
    """Rows come from one `charge` at the top; once they are measured, only `pour` can follow."""
    word = str(statement).split(" ", 1)[0]
    if isinstance(statement, Charge) != (not before):
        raise WorkflowError(
            line, word, "another statement: `charge` stands only on top" if before else "`charge` on top"
        )
    measured = next((earlier for earlier in before if isinstance(earlier, Measure)), None)
    if measured and not isinstance(statement, Pour):
        raise WorkflowError(line, word, f"`pour` or the end after `{measured.kind}`")


def _number(token: str) -> Number:
    value = round(float(token), 2)
    return int(value) if value == int(value) else value


class _Line:
    """The tokens of one line and a position among them."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.tokens: list[str] = _TOKEN.findall(text)
        self.at = 0

    def statement(self) -> Statement:
        """Read the whole line as one statement."""
        keyword = self.word(KEYWORDS, "a statement")
        read = _READERS.get(keyword)
        statement = read(self) if read else self.measure_of(keyword)
        if self.at < len(self.tokens):
            raise self.wrong(_END)
        return statement

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def wrong(self, expected: str, known: Iterable[str] = ()) -> WorkflowError:
        return WorkflowError(self.number, self.peek(), expected, known)

    def word(self, known: Sequence[str], what: str) -> str:
        """One of the known words; `what` names the list in the error."""
        if self.peek() not in known:
            listed = f" ({', '.join(known)})" if len(known) < len(KEYWORDS) else ""
            raise self.wrong(what + listed, known)
        return self.take()

    def name(self, what: str) -> str:
        """A name that is no reserved word."""
        if not NAME.fullmatch(self.peek()) or self.peek() in RESERVED:
            raise self.wrong(what)
        return self.take()

    def count(self) -> int:
        """A whole number of rows, from 1."""
        token = self.peek()
        if not NUMBER.fullmatch(token) or not 1 <= _number(token) <= MAX_COUNT or "." in token:
            raise self.wrong("a whole number from 1")
        return int(self.take())

    def number_value(self) -> Number:
        if not NUMBER.fullmatch(self.peek()):
            raise self.wrong("a number")
        return _number(self.take())

    def value(self) -> Value:
        """A number, a bare word or a quoted text."""
        token = self.peek()
        if NUMBER.fullmatch(token):
            return self.number_value()
        if TEXT.fullmatch(token):
            return self.take()[1:-1]
        return self.name("a value: a number, a word or a quoted text")

    def operand(self) -> str | Number:
        return self.number_value() if NUMBER.fullmatch(self.peek()) else self.name("a column or a number")

    def test(self) -> Clause:
        column = self.name("a column")
        relation = self.word(RELATIONS, "a relation")
        return Clause(column, relation, self.value() if relation in ("is", "not") else self.compared(relation))

    def compared(self, relation: str) -> Value:
        """What stands after `has` is text, after `over`, `under`, `least` and `most` a number."""
        if relation != "has":
            return self.number_value()
        if NUMBER.fullmatch(self.peek()):
            raise self.wrong("a word or a quoted text")
        return self.value()

    def condition(self) -> Condition:
        tests, joiner = [self.test()], "and"
        while self.peek() in JOINERS:
            if len(tests) > 1 and self.peek() != joiner:
                raise self.wrong(f"`{joiner}` again: one line joins with one word")
            if len(tests) == MAX_TESTS:
                raise self.wrong(f"{_END}: at most {MAX_TESTS} tests")
            joiner = self.take()
            tests.append(self.test())
        return Condition(tuple(tests), joiner)

    def measure_of(self, kind: str) -> Measure:
        return Measure(kind, self.name("a column") if kind in COLUMN_MEASURES else None)

    def after(self, word: str) -> None:
        """Step over a fixed word such as `from`."""
        self.word((word,), "the word")


def _draw(line: _Line) -> Draw:
    columns = [line.name("a column")]
    while line.peek() != _END:
        if line.peek() in columns:
            raise line.wrong("another column: each is drawn once")
        columns.append(line.name("a column"))
    return Draw(tuple(columns))


def _forge(line: _Line) -> Forge:
    column = line.name("a name for the column")
    line.after("from")
    return Forge(column, line.operand(), line.word(OPERATORS, "an operator"), line.operand())


def _brand(line: _Line) -> Brand:
    word = line.name("a word to write")
    line.after("when")
    return Brand(word, line.condition())


def _stack(line: _Line) -> Stack:
    column = line.name("a column")
    measure = line.measure_of(line.word(MEASURES, "a measure"))
    if column in (measure.column, measure.kind):
        raise WorkflowError(line.number, column, "two columns with different names")
    return Stack(column, measure)


def _weld(line: _Line) -> Weld:
    table = line.name("a table")
    line.after("on")
    return Weld(table, line.name("a column"))


def _pour(line: _Line) -> Pour:
    place = line.name("a place")
    if line.peek() == _END:
        return Pour(place)
    line.after("when")
    relation = line.word(NUMBER_RELATIONS, "a relation")
    return Pour(place, relation, line.number_value())


_READERS: dict[str, Callable[[_Line], Statement]] = {
    "charge": lambda line: Charge(line.name("a table")),
    "sift": lambda line: Sift(line.condition()),
    "dross": lambda line: Sift(line.condition(), keep=False),
    "rank": lambda line: Rank(line.name("a column"), line.word(DIRECTIONS, "a direction")),
    "skim": lambda line: Skim(line.count()),
    "dregs": lambda line: Skim(line.count(), first=False),
    "draw": _draw,
    "forge": _forge,
    "brand": _brand,
    "melt": lambda line: Melt(line.name("a column")),
    "stack": _stack,
    "weld": _weld,
    "pour": _pour,
}
