"""Each statement does what the manual says, and nothing but `WorkflowError` comes out of a bad program."""

from __future__ import annotations

from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.errors import WorkflowError
from bloomery.data.curated.workflow.interpreter import run
from bloomery.data.curated.workflow.table import Table, table

ORDERS = table(
    [
        {"buyer": "ada", "city": "oslo", "qty": 2, "total": 40},
        {"buyer": "bram", "city": "bath", "qty": 5, "total": 90},
        {"buyer": "cleo", "city": "oslo", "qty": 1, "total": 60},
        {"buyer": "dina", "city": "kiel", "qty": 5, "total": 60},
    ]
)
CITIES = table(
    [{"city": "oslo", "region": "coast"}, {"city": "bath", "region": "west"}, {"city": "oslo", "region": "hills"}]
)
TABLES = {"orders": ORDERS, "cities": CITIES, "none": table([], ["city", "total"])}


def rows(program: str) -> list[dict[str, Any]]:
    outcome = run(program, TABLES)
    assert outcome.table is not None
    return [{name: row[name] for name in outcome.table.columns} for row in outcome.table.rows]


def column(program: str, name: str) -> list[Any]:
    return [row[name] for row in rows(program)]


@pytest.mark.parametrize(
    ("test", "buyers"),
    [
        ("total over 60", ["bram"]),
        ("total least 60", ["bram", "cleo", "dina"]),
        ("total under 60", ["ada"]),
        ("total most 60", ["ada", "cleo", "dina"]),
        ("total is 60", ["cleo", "dina"]),
        ("city not oslo", ["bram", "dina"]),
        ("buyer has a", ["ada", "bram", "dina"]),
        ("city is oslo and total over 50", ["cleo"]),
        ("city is oslo or total over 80", ["ada", "bram", "cleo"]),
        ("city is 5", []),
    ],
)
def test_sift_keeps_and_dross_removes_the_rows_that_pass(test: str, buyers: list[str]) -> None:
    everyone = ["ada", "bram", "cleo", "dina"]
    assert column(f"charge orders\nsift {test}", "buyer") == buyers
    assert column(f"charge orders\ndross {test}", "buyer") == [buyer for buyer in everyone if buyer not in buyers]


@pytest.mark.parametrize(
    ("line", "buyers"),
    [
        ("rank total up", ["ada", "cleo", "dina", "bram"]),
        ("rank total down", ["bram", "cleo", "dina", "ada"]),
        ("rank buyer down", ["dina", "cleo", "bram", "ada"]),
        ("skim 2", ["ada", "bram"]),
        ("dregs 2", ["cleo", "dina"]),
        ("skim 99", ["ada", "bram", "cleo", "dina"]),
        ("dregs 99", ["ada", "bram", "cleo", "dina"]),
    ],
)
def test_rank_is_stable_and_skim_and_dregs_keep_order(line: str, buyers: list[str]) -> None:
    assert column(f"charge orders\n{line}", "buyer") == buyers


def test_columns_are_drawn_forged_branded_and_melted() -> None:
    assert rows("charge orders\ndraw qty buyer\nskim 1") == [{"qty": 2, "buyer": "ada"}]
    assert column("charge orders\nforge net from total minus qty", "net") == [38, 85, 59, 55]
    assert column("charge orders\nforge total from total times 1.25", "total") == [50, 112.5, 75, 75]
    assert column("charge orders\nforge net from 100 minus total", "net") == [60, 10, 40, 40]
    branded = "charge orders\nbrand red when total over 50\nbrand big when qty is 5"
    assert column(branded, "brand") == ["plain", "big", "red", "big"]
    assert rows("charge orders\nmelt city") == [{"city": "oslo"}, {"city": "bath"}, {"city": "kiel"}]


def test_stack_groups_in_order_of_appearance() -> None:
    assert rows("charge orders\nstack city weigh total") == [
        {"city": "oslo", "total": 100},
        {"city": "bath", "total": 90},
        {"city": "kiel", "total": 60},
    ]
    assert column("charge orders\nstack city tally", "tally") == [2, 1, 1]
    assert column("charge orders\nstack qty level total", "total") == [40, 75, 60]


def test_weld_takes_the_first_match_and_drops_rows_without_one() -> None:
    welded = rows("charge orders\nweld cities on city\ndraw buyer region")
    assert welded == [
        {"buyer": "ada", "region": "coast"},
        {"buyer": "bram", "region": "west"},
        {"buyer": "cleo", "region": "coast"},
    ]


@pytest.mark.parametrize(
    ("measure", "number"),
    [
        ("tally", 4),
        ("weigh total", 250),
        ("level total", 62.5),
        ("peak total", 90),
        ("ebb qty", 1),
        ("level qty", 3.25),
    ],
)
def test_measures(measure: str, number: float) -> None:
    outcome = run(f"charge orders\n{measure}", TABLES)
    assert outcome.table is None
    assert outcome.number == number


@pytest.mark.parametrize(
    ("measure", "number"), [("tally", 0), ("weigh total", 0), ("level total", None), ("peak total", None)]
)
def test_measures_of_no_rows(measure: str, number: int | None) -> None:
    outcome = run(f"charge none\n{measure}\npour desk when over -1", TABLES)
    assert outcome.number == number
    assert outcome.poured == (("desk",) if number == 0 else ())


def test_pour_measures_rows_or_the_number() -> None:
    assert run("charge orders\npour a when over 3\npour b when over 4\npour c", TABLES).poured == ("a", "c")
    assert run("charge orders\nweigh total\npour a when is 250\npour b when not 250", TABLES).poured == ("a",)


def test_tables_stay_unchanged() -> None:
    before = [dict(row) for row in ORDERS.rows]
    run("charge orders\nforge total from total times 2\nbrand red when qty over 0\nrank total down", TABLES)
    assert [dict(row) for row in ORDERS.rows] == before


@pytest.mark.parametrize(
    ("program", "line", "found", "nearest"),
    [
        ("charge order", 1, "order", "orders"),
        ("charge orders\nsift totl over 5", 2, "totl", "total"),
        ("charge orders\nsift city over 5", 2, "city", None),
        ("charge orders\nsift total has a", 2, "total", None),
        ("charge orders\nweigh city", 2, "city", None),
        ("charge orders\ndraw city\nrank total up", 3, "total", None),
        ("charge orders\nweld cities on buyer", 2, "buyer", None),
        ("charge orders\n\nforge net from city plus 1", 3, "city", None),
        ("charge orders\n" + "forge total from total times total\n" * 4, 4, "6.55e+12", None),
    ],
)
def test_a_program_that_cannot_run_says_why(program: str, line: int, found: str, nearest: str | None) -> None:
    with pytest.raises(WorkflowError) as caught:
        run(program, TABLES)
    assert (caught.value.line, caught.value.found, caught.value.nearest) == (line, found, nearest)


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1}, {"b": 1}],
        [{"a": None}],
        [{"a": True}],
        [{"a": float("nan")}],
        [{"a": float("inf")}],
        [{"a": 1e13}],
        [{"a": 1}] * 10_001,
    ],
)
def test_bad_tables_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError):
        table(rows)


def test_a_column_of_numbers_and_texts_is_neither() -> None:
    mixed = {"mixed": Table(("a",), ({"a": 1}, {"a": "x"}))}
    for line in ("rank a up", "weigh a", "sift a over 0", "sift a has x"):
        with pytest.raises(WorkflowError, match="a column of"):
            run(f"charge mixed\n{line}", mixed)
