"""Rows of a suite: what is wrong with one is told by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.evals.suites import Suite, read_jsonl


def test_a_broken_row_is_named_by_its_line_where_lines_are_empty(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "reference_answer": "b"}\n\n\n{"reference_answer": "b"}\n')
    with pytest.raises(InputError, match="row 4 of the suite `quiz` has no `prompt`") as told:
        Suite("quiz", "generate", rows, "skills", {"type": "exact"}).load_rows()
    assert str(told.value.where).endswith("rows.jsonl:4")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "\\udfff"}', "half of a surrogate pair"),
        ("[" * 100_000, "is not JSON"),
        ('{"n": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, row: str, message: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n' + row + "\n")
    with pytest.raises(InputError, match=message) as told:
        read_jsonl(rows)
    assert str(told.value.where).endswith("rows.jsonl:2")
