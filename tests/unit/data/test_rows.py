"""Rows: long documents are split, dropped or cut by a stated policy, and every token is accounted for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tokens import jsonl, pairs, texts, tokenizer_folder

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.store import TokenStore, build_store

CONTEXT = 16


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenStore]:
    folder = tmp_path_factory.mktemp("stores")
    renderer = Renderer(tokenizer_folder(folder / "tokenizer"))
    rows: dict[str, list[dict[str, Any]]] = {"text": texts(12, words=14), "chat": pairs(12)}
    found = {}
    for name, content in rows.items():
        jsonl(folder / name / "rows.jsonl", content)
        found[name] = build_store(name, SourceSpec(path="rows.jsonl"), folder / name, renderer, folder / "cache")
    return found


def test_split_pieces_rebuild_every_document_and_lose_no_token(stores: dict[str, TokenStore]) -> None:
    store = stores["text"]
    table = RowTable(store, CONTEXT)
    assert table.policy == "split" and table.n_tokens == store.n_tokens
    pieces: dict[int, list[int]] = {}
    for index, doc in enumerate(table.documents().tolist()):
        pieces.setdefault(doc, []).extend(table.row(index).ids.tolist())
    assert [pieces[doc] for doc in range(store.n_docs)] == [store.document(d)[0].tolist() for d in range(store.n_docs)]
    assert int(table.lengths.max()) <= CONTEXT
    assert table.cuts.split == int((store.lengths > CONTEXT).sum()) > 0


def test_pieces_of_a_document_are_of_nearly_equal_length(stores: dict[str, TokenStore]) -> None:
    table = RowTable(stores["text"], CONTEXT)
    for doc in np.unique(table.documents()):
        lengths = table.lengths[table.documents() == doc]
        assert lengths.max() - lengths.min() <= 1


def test_nothing_predicts_the_first_token_of_any_piece(stores: dict[str, TokenStore]) -> None:
    table = RowTable(stores["text"], CONTEXT)
    for index in range(table.n_rows):
        weight = table.row(index).weight["ce"]
        assert weight[0] == 0 and weight[1:].all() and weight.dtype == np.float32
        assert table.row(index).trained() == table.trained[index]


def test_conversations_are_dropped_whole_and_counted(stores: dict[str, TokenStore]) -> None:
    store = stores["chat"]
    limit = int(np.sort(store.lengths)[-3])
    many = int((store.lengths > limit).sum())
    table = RowTable(store, limit, drop_limit=0.5)
    assert (table.policy, table.cuts.dropped) == ("drop", many)
    assert table.n_tokens + table.cuts.dropped_tokens == store.n_tokens
    with pytest.raises(InputError, match="longer than the context of 8 tokens and would be dropped, above") as error:
        RowTable(store, 8)
    assert "overlong: split" in str(error.value)


def test_truncation_counts_what_it_cut(stores: dict[str, TokenStore]) -> None:
    store = stores["text"]
    table = RowTable(store, CONTEXT, "truncate", drop_limit=1)
    assert table.n_rows == store.n_docs
    assert table.n_tokens + table.cuts.truncated_tokens == store.n_tokens
    assert table.row(0).ids.tolist() == store.document(0)[0][:CONTEXT].tolist()
    with pytest.raises(InputError, match="would be cut short"):
        RowTable(store, CONTEXT, "truncate")
    with pytest.raises(InputError, match="`overlong: cut` is unknown"):
        RowTable(store, CONTEXT, "cut")


def test_a_table_keeps_to_the_documents_it_is_given(stores: dict[str, TokenStore]) -> None:
    table = RowTable(stores["chat"], 512, docs=np.array([7, 2]))
    assert [table.row(i).example_id for i in range(len(table))] == ["p7", "p2"]
    assert table.row(1, epoch=3).row_id == "chat:3:1"
    with pytest.raises(InputError, match="no row left"):
        RowTable(stores["chat"], 512, docs=np.array([], np.int64))
