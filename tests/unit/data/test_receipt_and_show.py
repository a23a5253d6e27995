"""The receipt adds up, and what is shown is what is trained."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tokens import jsonl, pairs, texts, tokenizer_folder

from bloomery.core.rows import Segment
from bloomery.data.blend import Blend
from bloomery.data.config import SourceSpec
from bloomery.data.receipt import data_receipt
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.shapes import guess
from bloomery.data.show import show_rows, show_step
from bloomery.data.store import build_store


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RowTable]:
    folder = tmp_path_factory.mktemp("stores")
    renderer = Renderer(tokenizer_folder(folder / "tokenizer"))
    found = {}
    for name, rows in (("text", texts(40)), ("chat", pairs(50))):
        jsonl(folder / name / "rows.jsonl", rows)
        spec = SourceSpec(path="rows.jsonl")
        found[name] = RowTable(build_store(name, spec, folder / name, renderer, folder / "cache"), 64)
    return found


def test_the_receipt_counts_exactly_what_the_steps_held(tables: dict[str, RowTable]) -> None:
    blend = Blend(tables, [Segment(0, {"text": 0.7, "chat": 0.3})], 500, 1, 100)
    rows = [tables[ref.source].row(ref.index, ref.epoch) for step in range(23) for ref in blend.step(step)]
    receipt = json.loads(json.dumps(data_receipt(tables, blend)))
    assert receipt["steps"] == 23 and receipt["tokens"] == sum(map(len, rows))
    for name, table in tables.items():
        own = [row for row in rows if row.source == name]
        taken = receipt["sources"][name]["taken"]
        assert taken["tokens"] == sum(map(len, own))
        assert taken["trained_tokens"] == sum(row.trained() for row in own)
        assert taken["epochs"] == pytest.approx(taken["tokens"] / table.n_tokens, abs=1e-4)
        assert abs(taken["tokens_asked"] - taken["tokens"]) <= 64
    assert receipt["sources"]["text"]["taken"]["epochs"] > 1


def test_rows_read_kept_trained_and_masked_add_up(tables: dict[str, RowTable]) -> None:
    sources = data_receipt(tables)["sources"]
    for name, table in tables.items():
        rows = sources[name]["rows"]
        assert rows["read"] == rows["kept"] + sum(rows["dropped"].values())
        assert rows["tokens"] == rows["trained"] + rows["masked"]
        assert sources[name]["trained"] + sources[name]["masked"] == table.n_tokens
        assert sources[name]["cut"]["rows"] == table.n_rows


def shown(tables: dict[str, RowTable], name: str, colour: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=100, color_system="truecolor" if colour else None, force_terminal=colour, no_color=not colour
    )
    folder = tables[name].store.path.parents[2] / "tokenizer"
    show_rows([tables[name].row(0)], folder, console)
    return out.getvalue()


def test_trained_tokens_are_marked(tables: dict[str, RowTable]) -> None:
    plain = shown(tables, "chat", colour=False)
    assert "⟦It is 1.<|im_end|>⟧" in plain
    assert "chat · p0" in plain and "What is 0 + 1?" in plain
    assert "\x1b[1;32m" in shown(tables, "chat", colour=True)


def test_a_step_is_shown_with_what_each_source_gave(tables: dict[str, RowTable], tmp_path: Path) -> None:
    out = io.StringIO()
    blend = Blend(tables, [Segment(0, {"text": 0.5, "chat": 0.5})], 400, 1)
    folder = tables["chat"].store.path.parents[2] / "tokenizer"
    show_step(blend, tables, 2, folder, Console(file=out, width=100, color_system=None))
    assert "step 2" in out.getvalue() and "of the step" in out.getvalue()
    assert "columns of chat: prompt <- prompt (guessed), response <- response (guessed)" in out.getvalue()


def test_data_does_not_steer_the_terminal(tmp_path: Path) -> None:
    renderer = Renderer(tokenizer_folder(tmp_path / "tokenizer"))
    jsonl(tmp_path / "rows.jsonl", [{"text": "red \x1b[31m alert \x07"}])
    store = build_store("rows", SourceSpec(path="rows.jsonl"), tmp_path, renderer, tmp_path / "cache")
    text = shown({"rows": RowTable(store, 64)}, "rows", colour=False)
    assert "\x1b" not in text and "\x07" not in text and "␛[31m" in text
    assert guess("rows", "text: text <- \x1b[31m (guessed)") == "columns of rows: text <- �[31m (guessed)"
