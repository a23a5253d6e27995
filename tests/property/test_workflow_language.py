"""Laws of the language for any text, any program, any table."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.data.curated.workflow.check import check
from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.grammar import (
    COLUMN_MEASURES,
    DIRECTIONS,
    JOINERS,
    KEYWORDS,
    NAME,
    NUMBER_RELATIONS,
    OPERATORS,
    ORDER_RELATIONS,
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
    Pour,
    Program,
    Rank,
    Sift,
    Skim,
    Stack,
    Weld,
)
from bloomery.data.curated.workflow.interpreter import run
from bloomery.data.curated.workflow.parser import parse
from bloomery.data.curated.workflow.table import table
from bloomery.data.curated.workflow.transcript import find_programs, result_text, table_text

NAMES = st.sampled_from(("city", "total", "qty", "name")) | st.from_regex(NAME, fullmatch=True).filter(
    lambda name: name not in RESERVED
)
NUMBERS = st.integers(-(10**9) + 1, 10**9 - 1) | st.integers(-9999, 9999).map(lambda cents: cents / 100).filter(
    lambda value: value != int(value)
)
TEXTS = st.from_regex(TEXT, fullmatch=True).map(lambda quoted: quoted[1:-1])
TESTS = st.one_of(
    st.builds(Clause, NAMES, st.sampled_from(ORDER_RELATIONS), NUMBERS),
    st.builds(Clause, NAMES, st.sampled_from(("is", "not")), NUMBERS | TEXTS),
    st.builds(Clause, NAMES, st.just("has"), TEXTS),
)
CONDITIONS = st.one_of(
    st.builds(Condition, st.tuples(TESTS)),
    st.builds(Condition, st.lists(TESTS, min_size=2, max_size=4).map(tuple), st.sampled_from(JOINERS)),
)
MEASURES = st.just(Measure("tally")) | st.builds(Measure, st.sampled_from(COLUMN_MEASURES), NAMES)
POURS = st.builds(Pour, NAMES) | st.builds(Pour, NAMES, st.sampled_from(NUMBER_RELATIONS), NUMBERS)
STEPS = st.one_of(
    st.builds(Sift, CONDITIONS, st.booleans()),
    st.builds(Rank, NAMES, st.sampled_from(DIRECTIONS)),
    st.builds(Skim, st.integers(1, 10_000), st.booleans()),
    st.lists(NAMES, min_size=1, max_size=4, unique=True).map(lambda names: Draw(tuple(names))),
    st.builds(Forge, NAMES, NAMES | NUMBERS, st.sampled_from(OPERATORS), NAMES | NUMBERS),
    st.builds(Brand, NAMES, CONDITIONS),
    st.builds(Melt, NAMES),
    st.builds(Stack, NAMES, MEASURES).filter(lambda made: made.column not in (made.measure.column, made.measure.kind)),
    st.builds(Weld, st.sampled_from(("orders", "cities")), NAMES),
    POURS,
)
PROGRAMS = st.builds(
    lambda table, steps, end: Program((Charge(table), *steps, *end)),
    st.just("orders") | NAMES,
    st.lists(STEPS, max_size=6),
    st.just(()) | st.builds(lambda measure, pours: (measure, *pours), MEASURES, st.lists(POURS, max_size=2)),
)
CELLS = {
    "city": st.sampled_from(("oslo", "bath", "new york")),
    "total": NUMBERS,
    "qty": st.integers(0, 9),
    "name": TEXTS,
}
ORDERS = st.lists(st.fixed_dictionaries(CELLS), max_size=8).map(lambda rows: table(rows, list(CELLS)))
CITIES = table([{"city": "oslo", "region": "coast"}, {"city": "bath", "region": "west"}])
WORDS = st.sampled_from(
    (*KEYWORDS, *RESERVED, "orders", "city", "total", "5", "-1.5", '"', '"new york"', "\n", "\n", " ")
)
ALMOST = st.lists(WORDS | st.text(max_size=4), max_size=25).map(" ".join)


@given(PROGRAMS)
def test_format_then_parse_gives_the_same_program(program: Program) -> None:
    assert parse(str(program)) == program


@given(st.text(max_size=300) | ALMOST)
@settings(max_examples=400)
def test_any_text_is_a_program_or_a_workflow_error(text: str) -> None:
    try:
        program = parse(text)
    except WorkflowError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert len(str(error)) < 600
    else:
        assert parse(str(program)) == program


@given(PROGRAMS, ORDERS)
@settings(max_examples=300)
def test_running_ends_in_a_bounded_outcome_or_a_workflow_error(program: Program, orders: object) -> None:
    tables = {"orders": orders, "cities": CITIES}
    with contextlib.suppress(WorkflowError):
        outcome = run(program, tables)
        assert outcome == run(program, tables)
        assert (outcome.table is None) == any(isinstance(step, Measure) for step in program.statements)
        if outcome.table is not None:
            assert len(outcome.table.rows) <= 8
            assert all(set(row) == set(outcome.table.columns) for row in outcome.table.rows)


@given(st.text(max_size=200) | ALMOST)
def test_the_checker_never_raises_for_any_answer(answer: str) -> None:
    verdict = check(answer, {"reference": "charge orders\ntally", "seed": 1})
    assert verdict.reason
    assert not verdict.ok or parse(answer)


@given(
    st.lists(
        st.fixed_dictionaries({"city": CELLS["city"], "qty": CELLS["qty"], "total": NUMBERS}), min_size=1, max_size=5
    )
)
def test_a_transcript_can_be_read_back_and_replayed(rows: list[dict[str, object]]) -> None:
    orders = table(rows)
    program = "charge orders\nsift qty over 3\nrank total down"
    printed = result_text(program, {"orders": orders})
    text = f"Some text.\n{table_text('orders', orders)}\n> " + program.replace("\n", "\n> ") + f"\n{printed}\nMore."
    (shown,) = find_programs(text)
    assert shown.program == program
    assert shown.tables == {"orders": orders}
    assert shown.printed == printed.split("\n")
