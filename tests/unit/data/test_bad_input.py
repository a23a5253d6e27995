"""What cannot be used is refused by file and row, with what to do about it."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from tokens import jsonl, pairs, texts, tokenizer_folder

from bloomery.core.errors import InputError
from bloomery.data import readers
from bloomery.data.config import SourceSpec
from bloomery.data.overlap import Evaluated, refuse_overlap, suite_digests
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.shapes import detect, to_example
from bloomery.data.sources import iter_records
from bloomery.data.split import holdout
from bloomery.data.store import TokenStore, build_store
from bloomery.data.turns import plain


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tokenizer_folder(tmp_path_factory.mktemp("tokenizer")))


def build(renderer: Renderer, folder: Path, name: str = "rows.jsonl", **spec: Any) -> TokenStore:
    return build_store("rows", SourceSpec(path=name, **spec), folder, renderer, folder / "cache", workers=1)


def refusal(renderer: Renderer, folder: Path, data: bytes | list[Any], name: str = "rows.jsonl", **spec: Any) -> str:
    """The message that a file with this content is refused with; nothing may be left in the cache."""
    if isinstance(data, list):
        data = "".join(json.dumps(row) + "\n" for row in data).encode()
    (folder / name).write_bytes(data)
    with pytest.raises(InputError) as error:
        build(renderer, folder, name, **spec)
    stores = folder / "cache" / "tokens"
    assert not stores.exists() or [p.name for p in stores.iterdir() if not p.name.endswith(".lock")] == []
    return str(error.value)


def test_an_empty_file(renderer: Renderer, tmp_path: Path) -> None:
    assert "rows.jsonl: source `rows` has no rows" in refusal(renderer, tmp_path, b"")
    assert "has no rows" in refusal(renderer, tmp_path, b"\n\n")


def test_one_row_trains_but_leaves_nothing_to_measure_on(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", texts(1))
    with pytest.raises(InputError, match="has one document: nothing can be held out") as error:
        holdout(build(renderer, tmp_path))
    assert "eval:" in str(error.value)


def test_bad_utf8_is_named_by_row_and_byte(renderer: Renderer, tmp_path: Path) -> None:
    message = refusal(renderer, tmp_path, b'{"text": "fine"}\n{"text": "br\xffken"}\n')
    assert "rows.jsonl:2: is not valid UTF-8: byte 0xff at position 12" in message
    assert "iconv" in message
    assert "bad.md:1: is not valid UTF-8" in refusal(renderer, tmp_path, b"caf\xe9", "bad.md")


def test_a_line_of_a_hundred_megabytes(renderer: Renderer, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "long.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(b'{"text": "short"}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n')
    with pytest.raises(InputError, match=r"long.jsonl.gz:2: this line is longer than 32 MiB"):
        build(renderer, tmp_path, "long.jsonl.gz")


def test_mixed_schemas(renderer: Renderer, tmp_path: Path) -> None:
    message = refusal(renderer, tmp_path, [{"text": "a"}, {"text": "b"}, *pairs(1)])
    assert "rows.jsonl:3: has no column `text` (text), which the first row has; its columns: id, prompt" in message
    assert "separate sources" in message


@pytest.mark.parametrize("row", [{"text": ""}, {"text": "  \n"}, {"prompt": "Why?", "response": " "}])
def test_a_row_with_no_trained_token(renderer: Renderer, tmp_path: Path, row: dict[str, str]) -> None:
    good = dict.fromkeys(row, "good")
    assert "rows.jsonl:2: has no token to train on" in refusal(renderer, tmp_path, [good, row])


def test_a_conversation_without_an_assistant_turn(renderer: Renderer, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Anybody?"}]}
    answered = {"messages": [*row["messages"], {"role": "assistant", "content": "Me."}]}
    assert "no token to train on: no assistant turn with text" in refusal(renderer, tmp_path, [answered, row])


def test_a_source_of_conversations_that_nobody_answers_is_one_of_tasks(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"messages": [{"role": "user", "content": "Anybody?"}]}] * 2)
    assert build(renderer, tmp_path).shape == "task"


def test_a_missing_column(renderer: Renderer, tmp_path: Path) -> None:
    message = refusal(renderer, tmp_path, [{"headline": "a", "story": "b"}])
    assert "the columns (headline, story) fit no shape" in message
    assert "columns: {" in message
    message = refusal(renderer, tmp_path, [{"story": "b"}], columns={"text": "stroy"})
    assert "`columns.text: stroy`: there is no such column (did you mean `story`?)" in message
    message = refusal(renderer, tmp_path, [{"story": "b"}], columns={"txt": "story"})
    assert "`columns.txt` is no role (did you mean `text`?)" in message
    assert "needs response" in refusal(renderer, tmp_path, [{"prompt": "x"}], shape="prompt")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"text": "a", "image": {"bytes": "..."}}, "has a column `image`"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "`image_url`",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]}, "`image`"),
    ],
)
def test_a_row_with_an_image_is_refused_by_name(renderer: Renderer, tmp_path: Path, row: Any, what: str) -> None:
    message = refusal(renderer, tmp_path, [row])
    assert what in message and "text only" in message and "rows.jsonl:1" in message


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"text": "a"\n', "rows.jsonl:1: is not valid JSON: Expecting ',' delimiter"),
        (b'{"text": "a"}\n[1, 2]\n', "rows.jsonl:2: a row must be a JSON object"),
        (b'{"text": 1.5}\n{"text": ["a"]}\n', "rows.jsonl:2: column `text` (text) must hold text, it is a list"),
        (b'{"text": null}\n', "it is empty"),
        (b'{"text": NaN}\n', "rows.jsonl:1: column `text` (text) must hold text, it is empty"),
        (b'{"prompt": "a", "response": -Infinity}\n', "column `response` (response) must hold text, it is empty"),
        (b'{"text": "\\ud800"}\n', "half of a surrogate pair (U+D800)"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"messages": "hello"}\n', "holds a string that is not JSON"),
        (b'{"messages": []}\n', "must hold a list of messages"),
        (b'{"messages": [{"role": "wizard", "content": "a"}]}\n', "unknown role `wizard`"),
        (b'{"messages": [{"role": "user"}]}\n', "message 1 (user) has no `content`"),
    ],
)
def test_rows_that_are_not_rows(renderer: Renderer, tmp_path: Path, data: bytes, what: str) -> None:
    message = refusal(renderer, tmp_path, data)
    assert what in message and "(char" not in message  # json counts lines from the row


def test_numbers_are_text_and_missing_ones_are_missing(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "rows.jsonl", [{"prompt": "a", "context": math.nan, "response": 0}, {"prompt": 2, "response": 1.5}]
    )
    spec = SourceSpec(path="rows.jsonl")
    records = list(iter_records(spec, tmp_path))
    examples = [to_example(record, detect(records[0], spec)) for record in records]
    said = [[plain(message["content"]) for message in example.messages] for example in examples]
    assert said == [["a", "0"], ["2", "1.5"]]


def test_missing_numbers_are_counted_like_empty_cells(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [*texts(98), {"text": None}, {"text": math.nan}])
    spec = SourceSpec(path="rows.jsonl", bad_rows="skip", drop_limit=0.02)
    store = build_store("rows", spec, tmp_path, renderer, tmp_path / "cache")
    assert store.stats.dropped == {"column `text` (text) must hold text, it is empty": 2}


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl.gz", "rows.jsonl.xz", "rows.jsonl.zst"])
def test_a_damaged_file(renderer: Renderer, tmp_path: Path, name: str) -> None:
    assert name in refusal(renderer, tmp_path, b"PAR1 this is not what it says", name)


def test_a_csv_row_with_a_cell_too_many(renderer: Renderer, tmp_path: Path) -> None:
    message = refusal(renderer, tmp_path, b"id,text\n1,a\n2,b,c\n", "rows.csv")
    assert "rows.csv:3: has 3 cells, the header has 2" in message


def test_bad_rows_can_be_skipped_and_are_counted(renderer: Renderer, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [*texts(98), {"id": "empty", "text": " "}, {"id": "list", "text": []}]
    jsonl(tmp_path / "rows.jsonl", rows)
    store = build(renderer, tmp_path, bad_rows="skip", drop_limit=0.02)
    assert (store.stats.read, store.stats.kept) == (100, 98)
    assert sorted(store.stats.dropped.values()) == [1, 1]
    with pytest.raises(InputError, match=r"2 of 100 rows cannot be used .* above `drop_limit: 0.01`"):
        build_store("rows", SourceSpec(path="rows.jsonl", bad_rows="skip"), tmp_path, renderer, tmp_path / "other")


def test_a_row_over_the_cap_in_parquet_and_text(renderer: Renderer, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(readers, "MAX_ROW_BYTES", 1000)
    assert "the most we read in one piece" in refusal(renderer, tmp_path, b"x" * 5000, "big.md")


def test_training_rows_that_are_evaluation_rows(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", texts(20))
    changed = {"id": "other", "text": texts(20)[7]["text"].upper().replace(" ", "   ")}
    jsonl(tmp_path / "held.jsonl", [changed, {"id": "new", "text": "never seen"}])
    table = RowTable(build(renderer, tmp_path), 64)
    held = suite_digests(tmp_path / "held.jsonl", False)
    with pytest.raises(InputError, match="1 training rows of `rows` are also evaluation rows of `held`: t7"):
        refuse_overlap([table], {"held": held})
    refuse_overlap([table], {"held": Evaluated(held.rows[1:])})
