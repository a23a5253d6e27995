"""Text becomes a program or one error that says where and what to write instead."""

from __future__ import annotations

import pickle

import pytest

from bloomery.core.errors import BloomeryError
from bloomery.data.curated.workflow import grammar
from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.parser import parse

EVERY_STATEMENT = """charge orders
weld cities on city
sift total over 50 and city is oslo
dross state not paid or item has ro
forge net from price times 1.25
brand red when net least 100
rank total down
skim 9
dregs 3
draw city total net
stack city weigh total
melt city
tally
pour billing when most 5
pour depot"""


def test_every_statement_formats_back_to_itself() -> None:
    program = parse(EVERY_STATEMENT)
    assert str(program) == EVERY_STATEMENT
    words = {line.split()[0] for line in EVERY_STATEMENT.split("\n")} | set(grammar.MEASURES)
    assert words == set(grammar.KEYWORDS)


def test_blank_lines_and_indentation_do_not_matter_but_lines_are_kept() -> None:
    program = parse("\n  charge   orders \r\n\n\ttally\n")
    assert str(program) == "charge orders\ntally"
    assert program.lines == (2, 4)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("sift total over 050", "sift total over 50"),
        ("sift total over 5.50", "sift total over 5.5"),
        ("sift total over -0", "sift total over 0"),
        ('sift city is "oslo"', "sift city is oslo"),
        ('sift city is "new york"', 'sift city is "new york"'),
        ('sift city is "50"', 'sift city is "50"'),
        ('sift city is "up"', 'sift city is "up"'),
    ],
)
def test_values_have_one_canonical_form(written: str, canonical: str) -> None:
    assert str(parse(f"charge orders\n{written}")) == f"charge orders\n{canonical}"


@pytest.mark.parametrize(
    ("text", "line", "found", "nearest"),
    [
        ("", 1, "nothing", None),
        ("tally", 1, "tally", None),
        ("charge orders\ncharge orders", 2, "charge", None),
        ("charge orders\nsfit total over 5", 2, "sfit", "sift"),
        ("charge orders\nsift total ovr 5", 2, "ovr", "over"),
        ("charge orders\nsift total over many", 2, "many", None),
        ("charge orders\nsift total has 5", 2, "5", None),
        ("charge orders\nsift total over 5 and city is oslo or city is bath", 2, "or", None),
        ("charge orders\n\nrank total", 3, "end of line", None),
        ("charge orders\nrank total dwn", 2, "dwn", "down"),
        ("charge orders\nskim 0", 2, "0", None),
        ("charge orders\nskim 2.5", 2, "2.5", None),
        ("charge orders\ntally\nskim 3", 3, "skim", None),
        ("charge orders\ndraw city city", 2, "city", None),
        ("charge orders\nstack total weigh total", 2, "total", None),
        ("charge over", 1, "over", None),
        ("charge orders extra", 1, "extra", None),
        ('charge orders\nsift city is "oslo', 2, '"oslo', None),
        ("charge Orders", 1, "Orders", None),
    ],
)
def test_an_error_names_line_word_and_nearest_known_word(text: str, line: int, found: str, nearest: str | None) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.found, caught.value.nearest) == (line, found, nearest)
    assert caught.value.expected
    assert f"line {line}: found `{found}`, expected {caught.value.expected}" in str(caught.value)


def test_length_is_capped() -> None:
    assert len(parse("charge orders\n" + "skim 3\n" * 23).statements) == 24
    with pytest.raises(WorkflowError, match="at most 24"):
        parse("charge orders\n" + "skim 3\n" * 24)
    with pytest.raises(WorkflowError, match="at most 4000"):
        parse("charge orders\n" + " " * 4000)
    with pytest.raises(WorkflowError, match="at most 4 tests"):
        parse("charge orders\nsift a is b" + " and a is b" * 4)


def test_long_tokens_are_cut_in_messages() -> None:
    with pytest.raises(WorkflowError) as caught:
        parse("x" * 3000)
    assert len(str(caught.value)) < 200


def test_errors_survive_a_process_border() -> None:
    with pytest.raises(WorkflowError) as caught:
        parse("charge orders\nsfit a is b")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert isinstance(copy, BloomeryError)
