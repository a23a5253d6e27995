"""Laws of contamination: passages that stand on both sides are found, all of them, and forms in common are not."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bloomery.data.contamination import PASSAGE, Measured, Touched, contamination

RNG = np.random.default_rng(0)


def table(documents: list[np.ndarray[Any, Any]], used: list[int] | None = None) -> Any:
    """A table over documents of token ids, as far as counting needs one."""
    lengths = np.array([len(d) for d in documents], np.int64)
    offsets = np.append(0, np.cumsum(lengths))
    flat = np.concatenate(documents).astype(np.int32)
    store = SimpleNamespace(
        n_docs=len(documents), n_tokens=len(flat), lengths=lengths, offsets=offsets,
        span=lambda first, last: flat[offsets[first] : offsets[last]],
    )  # fmt: skip
    chosen = np.array(range(len(documents)) if used is None else used)
    return SimpleNamespace(name="source", store=store, documents=lambda: chosen)


def drawn(count: int, length: int = 60) -> list[np.ndarray[Any, Any]]:
    return [RNG.integers(0, 4096, length) for _ in range(count)]


def touched(source: Any, documents: list[Any]) -> Touched:
    return contamination([source], {"held": Measured.of(documents)})["source"]["held"]


def test_unrelated_documents_share_nothing() -> None:
    assert touched(table(drawn(200)), drawn(100)) == Touched(0, 0, 100)


def test_a_shared_passage_touches_and_half_of_a_document_covers() -> None:
    held, training = drawn(20), drawn(50)
    training[7][10 : 10 + PASSAGE] = held[3][20 : 20 + PASSAGE]
    training[9][:40] = held[4][10:50]
    assert touched(table(training), held) == Touched(2, 1, 20)


def test_twelve_tokens_in_a_row_are_no_passage_nor_are_any_over_two_documents() -> None:
    held, training = drawn(5), drawn(5)
    training[0][: PASSAGE - 1] = held[0][: PASSAGE - 1]
    training[1][-6:], training[2][:7] = held[1][:6], held[1][6:13]
    assert touched(table(training), held) == Touched(0, 0, 5)


def test_no_passage_reaches_over_a_break() -> None:
    held = np.concatenate([np.arange(7), [-1], np.arange(7, 14)])
    assert touched(table([np.arange(40)]), [held]) == Touched(0, 0, 1)
    assert touched(table([np.arange(40)]), [np.concatenate([np.arange(20), [-1], np.arange(50, 60)])]).touched == 1


def test_a_form_that_evaluation_documents_have_in_common_does_not_count() -> None:
    form, held, training = RNG.integers(0, 4096, 20), drawn(40), drawn(40)
    for place, document in enumerate([*held, *training]):
        document[:20], document[20] = form, 5000 + place
    assert touched(table(training), held) == Touched(0, 0, 40)


def test_documents_that_are_not_used_do_not_count() -> None:
    held, training = drawn(5), drawn(5)
    training[2] = held[2]
    assert touched(table(training), held).touched == 1
    assert touched(table(training, used=[0, 1, 3, 4]), held).touched == 0


def test_short_documents_and_empty_sets_are_no_fault() -> None:
    assert touched(table(drawn(3)), [np.arange(5), np.arange(12), np.empty(0, np.int64)]) == Touched(0, 0, 0)
    assert touched(table(drawn(3)), []) == Touched(0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_found_is_what_a_plain_search_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    held = [rng.integers(0, 3, int(rng.integers(1, 80))) for _ in range(8)]
    training = [rng.integers(0, 3, int(rng.integers(1, 3000))) for _ in range(30)]
    grams = {tuple(d[i : i + PASSAGE]) for d in training for i in range(len(d) - PASSAGE + 1)}
    hits = [[tuple(d[i : i + PASSAGE]) in grams for i in range(len(d) - PASSAGE + 1)] for d in held]
    covered = 0
    for document, hit in zip(held, hits, strict=True):
        inside = {i + k for i, one in enumerate(hit) if one for k in range(PASSAGE)}
        covered += bool(hit) and len(inside) >= 0.5 * len(document)
    assert touched(table(training), held) == Touched(sum(map(any, hits)), covered, sum(map(bool, hits)))


def test_millions_of_tokens_take_seconds(tmp_path: Path) -> None:
    source, held = table([RNG.integers(0, 4096, 4000) for _ in range(1000)]), drawn(2000, 300)
    began = time.process_time()
    touched(source, held)
    assert time.process_time() - began < 15
