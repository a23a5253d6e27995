"""Held-out documents: near-duplicates on one side, the same ones again when rows are added."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokens import jsonl, tokenizer_folder

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.overlap import Evaluated, without
from bloomery.data.render import Renderer
from bloomery.data.similar import clusters
from bloomery.data.split import holdout, holdout_rows
from bloomery.data.store import TokenStore, build_store

FIRST, LAST = "ka lo mi tu re so".split(), "ban dor fel gin hum jat kes".split()
WORDS = [f"{a}{b}{c}" for a in FIRST for b in FIRST for c in LAST]


def document(seed: int, words: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS, k=words))


def near(text: str) -> str:
    """The same text with one word in thirty changed."""
    words = text.split()
    return " ".join("changed" if index % 30 == 17 else word for index, word in enumerate(words))


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tokenizer_folder(tmp_path_factory.mktemp("tokenizer")))


def stored(renderer: Renderer, folder: Path, rows: list[Any]) -> TokenStore:
    rows = [row if isinstance(row, dict) else {"id": f"d{i}", "text": row} for i, row in enumerate(rows)]
    jsonl(folder / "rows.jsonl", rows)
    return build_store("rows", SourceSpec(path="rows.jsonl"), folder, renderer, folder / "cache", workers=1)


def test_near_duplicates_share_a_cluster_and_others_do_not(renderer: Renderer, tmp_path: Path) -> None:
    originals = [document(seed) for seed in range(60)]
    store = stored(renderer, tmp_path, [*originals, *(near(text) for text in originals[:20]), originals[30].upper()])
    found = clusters(store).tolist()
    assert found[:60] == list(range(60))
    assert found[60:80] == list(range(20))
    assert found[80] == 30


def test_a_shared_system_prompt_makes_no_duplicates(renderer: Renderer, tmp_path: Path) -> None:
    system = document(0, 150)
    rows = [{"prompt": document(i, 12), "response": document(-i, 12), "system": system} for i in range(1, 121)]
    assert len(np.unique(clusters(stored(renderer, tmp_path, rows)))) == 120


def test_near_duplicates_stay_on_one_side(renderer: Renderer, tmp_path: Path) -> None:
    originals = [document(seed) for seed in range(150)]
    store = stored(renderer, tmp_path, originals + [near(text) for text in originals])
    split = holdout(store, fraction=0.1, minimum=0)
    held = set(split.heldout.tolist())
    assert 30 <= len(held) <= 31 and split.together == 150
    assert all((doc in held) == ((doc + 150) in held) for doc in range(150))
    assert sorted([*split.train.tolist(), *held]) == list(range(300))


def test_two_percent_or_two_hundred_but_never_more_than_a_fifth(renderer: Renderer, tmp_path: Path) -> None:
    store = stored(renderer, tmp_path, [document(seed, 12) for seed in range(400)])
    assert len(holdout(store).heldout) == 80
    assert len(holdout(store, minimum=20).heldout) == 20
    assert len(holdout(store, fraction=0.1, minimum=20).heldout) == 40


def test_the_seed_chooses_and_added_rows_move_nothing(renderer: Renderer, tmp_path: Path) -> None:
    rows = [document(seed, 12) for seed in range(200)]
    store = stored(renderer, tmp_path / "a", rows)
    first = holdout(store, minimum=20)
    assert holdout(store, minimum=20).heldout.tolist() == first.heldout.tolist()
    assert holdout(store, minimum=20, seed=5).heldout.tolist() != first.heldout.tolist()
    more = holdout(
        stored(renderer, tmp_path / "b", [*rows, *(document(seed, 12) for seed in range(900, 920))]), minimum=22
    )
    assert len(set(first.heldout.tolist()) & set(more.heldout.tolist())) >= 17


def test_one_big_cluster_stays_in_training(renderer: Renderer, tmp_path: Path) -> None:
    base = document(1)
    store = stored(renderer, tmp_path, [f"{base} {n}" for n in range(40)] + [document(s) for s in range(100, 160)])
    held = holdout(store, fraction=0.1, minimum=0).heldout
    assert len(held) == 10 and held.min() >= 40


def test_nothing_but_near_duplicates_cannot_be_split(renderer: Renderer, tmp_path: Path) -> None:
    base = document(1)
    store = stored(renderer, tmp_path, [f"{base} {n}" for n in range(8)])
    with pytest.raises(InputError, match="8 documents, all near-duplicates: nothing can be held out"):
        holdout(store)


def test_documents_can_give_way_to_an_evaluation(renderer: Renderer, tmp_path: Path) -> None:
    store = stored(renderer, tmp_path, [document(seed) for seed in range(10)])
    kept = without(store, None, [Evaluated(store.digests[[2, 5]])])
    assert kept.tolist() == [0, 1, 3, 4, 6, 7, 8, 9]
    assert without(store, np.array([5, 6]), [Evaluated(store.digests[[2, 5]])]).tolist() == [6]


def test_rows_are_held_out_by_their_place_where_all_say_the_same() -> None:
    games: Any = SimpleNamespace(n_docs=60)
    found = holdout_rows(games, seed=3)
    assert len(found.heldout) == 12 and sorted([*found.train, *found.heldout]) == [*range(60)]
    assert holdout_rows(games, seed=3).heldout.tolist() == found.heldout.tolist()
    alone: Any = SimpleNamespace(n_docs=1)
    assert holdout_rows(alone).train.tolist() == [0] and not len(holdout_rows(alone).heldout)
