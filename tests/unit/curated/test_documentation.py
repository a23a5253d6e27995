"""The documentation source: enough text, in one order, and never a held-out document in training."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.core.resources import families_dir
from bloomery.data.curated import documentation
from bloomery.data.curated.sources import SourceFile, source_files

FRACTION = 0.1
FROZEN = families_dir() / "ember" / "heldout" / "documentation.jsonl"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(documentation.generate(fraction=FRACTION, workers=1))


def _docstrings(tmp_path: Path, source: str, module: str = "m") -> list[tuple[str, str]]:
    path = tmp_path / "m.py"
    path.write_text(source)
    return documentation.read_docstrings(SourceFile(path, module))


def test_a_tenth_of_the_modules_promises_more_than_15_megabytes(rows: list[dict[str, str]]) -> None:
    assert sum(len(row["text"].encode()) for row in rows) / FRACTION > 15e6


def test_documents_are_distinct_and_none_is_held_out(rows: list[dict[str, str]]) -> None:
    bodies = [documentation.body_of(row["text"]) for row in rows]
    assert len({documentation.body_hash(body) for body in bodies}) == len(bodies)
    assert not any(documentation.is_heldout(body) for body in bodies)


def test_order_is_the_same_for_any_number_of_workers() -> None:
    one = list(documentation.generate(fraction=0.01, workers=1))
    assert one == list(documentation.generate(fraction=0.01, workers=2)) and len(one) > 20


def test_train_and_heldout_together_are_all() -> None:
    parts = {split: {r["id"] for r in documentation.generate(split, 0.01, workers=1)} for split in ("train", "heldout")}
    assert parts["train"] | parts["heldout"] == {r["id"] for r in documentation.generate("all", 0.01, workers=1)}
    assert not parts["train"] & parts["heldout"]


def test_the_frozen_slice_is_held_out_under_any_package_version() -> None:
    frozen = [json.loads(line) for line in FROZEN.read_text().splitlines()]
    assert len(frozen) >= 200 and FROZEN.stat().st_size <= 300_000
    assert all(documentation.is_heldout(documentation.body_of(row["text"])) for row in frozen)


def test_tests_and_vendored_code_are_not_read() -> None:
    modules = [file.module for file in itertools.islice(source_files(), 3000)]
    assert modules and not any({"test", "tests", "_vendor", "idlelib"} & set(m.split(".")[:-1]) for m in modules)


def test_functions_classes_and_modules_carry_their_header(tmp_path: Path) -> None:
    text = "Words that say what this is, long enough to be worth a document of their own in the training data. " * 2
    source = f'"""{text}"""\nclass A(B):\n    """A {text}"""\n    def f(self, x: int = 3):\n        """F {text}"""\n'
    assert [header for header, _ in _docstrings(tmp_path, source)] == [
        "module m",
        "class m.A(B)",
        "m.A.f(self, x: int=3)",
    ]


def test_docstrings_added_by_a_call_are_found(tmp_path: Path) -> None:
    text = "Computes the absolute value of every element of the input, whatever its shape, and returns a new tensor."
    assert _docstrings(tmp_path, f'add_docstr(torch.abs, """{text}""")') == [("torch.abs", text)]


def test_short_docstrings_and_broken_files_give_nothing(tmp_path: Path) -> None:
    assert _docstrings(tmp_path, 'def f():\n    """Short."""') == []
    assert _docstrings(tmp_path, "def f(:") == []


def test_reading_never_runs_the_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    _docstrings(tmp_path, f"open({str(marker)!r}, 'w')")
    assert not marker.exists()


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="split: test"):
        next(documentation.generate("test"))


def test_a_reader_may_stop_early() -> None:
    assert len(list(documentation.generate(fraction=0.05, count=3))) == 3
