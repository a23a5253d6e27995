"""Every format gives the same rows with the file and line they came from."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError
from tokens import jsonl

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.sources import iter_records, source_files

ROWS = [{"id": "a", "text": 'first, "quoted"\nand broken'}, {"id": "b", "text": "zweite Zeile: Grüße"}]


def fields(base: Path, **spec: Any) -> list[dict[str, Any]]:
    return [record.fields for record in iter_records(SourceSpec(**spec), base)]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_json_lines_read_the_same_however_compressed(tmp_path: Path, suffix: str) -> None:
    data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}[suffix]
    (tmp_path / f"rows.jsonl{suffix}").write_bytes(pack(data))
    assert fields(tmp_path, path=f"rows.jsonl{suffix}") == ROWS


def test_parquet_csv_tsv_and_json_give_the_same_rows(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    for name, comma in (("rows.csv", ","), ("rows.tsv", "\t")):
        quoted = [comma.join(f'"{cell}"' for cell in (r["id"], r["text"].replace('"', '""'))) for r in ROWS]
        (tmp_path / name).write_text("\n".join([comma.join(["id", "text"]), *quoted]) + "\n")
    for name in ("rows.parquet", "rows.csv", "rows.tsv", "rows.json"):
        assert fields(tmp_path, path=name) == ROWS, name


def test_a_row_knows_its_line_and_blank_lines_count(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('\ufeff{"text": "a"}\n\n{"text": "b"}\n')
    where = [str(record.where) for record in iter_records(SourceSpec(path="rows.jsonl"), tmp_path)]
    assert where == [f"{tmp_path / 'rows.jsonl'}:1", f"{tmp_path / 'rows.jsonl'}:3"]


def test_a_markdown_file_is_one_row_named_after_it(tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text("# Guide\n\nText.")
    assert fields(tmp_path, path="*.md") == [{"id": "guide.md", "text": "# Guide\n\nText."}]


def test_globs_and_folders_read_files_by_name_each_once(tmp_path: Path) -> None:
    for name in ("b/two.md", "a.md", "b/one.txt", "skip.bin", ".hidden/x.md"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    names = [path.name for path in source_files(SourceSpec(path="docs"), tmp_path)]
    assert names == ["a.md", "one.txt", "two.md"]
    assert [p.name for p in source_files(SourceSpec(path=["docs/**/*.md", "docs/a.md"]), tmp_path)] == [
        "a.md",
        "two.md",
    ]


def test_a_generated_source_is_a_source_like_any_other(tmp_path: Path) -> None:
    rows = fields(tmp_path, builtin="skills", options={"count": 5})
    assert len(rows) == 5
    assert rows == fields(tmp_path, builtin="skills", options={"count": 5})


def test_a_source_has_exactly_one_origin() -> None:
    with pytest.raises(ValidationError, match="exactly one of `path`, `builtin` and `hf`; none"):
        SourceSpec()
    with pytest.raises(ValidationError, match="path and builtin is set"):
        SourceSpec(path="a", builtin="skills")


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ({"path": "a/handbook.jsonl.xz"}, "handbook"),
        ({"path": "handbook/*.md"}, "handbook"),
        ({"builtin": "skills"}, "skills"),
        ({"hf": "owner/name"}, "owner/name"),
        ({"path": "x.md", "name": "mine"}, "mine"),
    ],
)
def test_a_source_is_called_after_what_it_reads(spec: dict[str, Any], label: str) -> None:
    assert SourceSpec(**spec).label == label


def test_a_path_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`path: nope.jsonl` does not exist"):
        fields(tmp_path, path="nope.jsonl")
    with pytest.raises(InputError, match=r"`path: \*.md` matches no file"):
        fields(tmp_path, path="*.md")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "rows.weird").write_text("x")
    with pytest.raises(InputError, match=r"`path: empty` is a folder without a file that we read; known: \.csv, "):
        fields(tmp_path, path="empty")
    jsonl(tmp_path / "rows.weird", ROWS)
    with pytest.raises(InputError, match="extension we do not read"):
        fields(tmp_path, path="rows.weird")
    assert fields(tmp_path, path="rows.weird", format="jsonl") == ROWS
