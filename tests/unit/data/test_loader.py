"""The loader reads ahead, says how long a step waited, and knows where to go on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from tokens import jsonl, pairs, texts, tokenizer_folder

from bloomery.core.errors import InputError
from bloomery.core.rows import Segment, TokenRow
from bloomery.data.blend import Blend
from bloomery.data.config import SourceSpec
from bloomery.data.loader import StepLoader
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.store import build_store


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RowTable]:
    folder = tmp_path_factory.mktemp("stores")
    renderer = Renderer(tokenizer_folder(folder / "tokenizer"))
    found = {}
    for name, rows in (("text", texts(60)), ("chat", pairs(80))):
        jsonl(folder / name / "rows.jsonl", rows)
        spec = SourceSpec(path="rows.jsonl")
        found[name] = RowTable(build_store(name, spec, folder / name, renderer, folder / "cache"), 64)
    return found


def blend(tables: dict[str, RowTable], cap: float = 1e9) -> Blend:
    return Blend(tables, [Segment(0, {"text": 0.5, "chat": 0.5})], 300, 3, cap)


def ids(rows: list[TokenRow]) -> list[str]:
    return [row.row_id for row in rows]


def test_steps_come_in_order_with_their_rows(tables: dict[str, RowTable]) -> None:
    expected = blend(tables)
    with StepLoader(blend(tables), tables, 0, 20) as loader:
        seen = list(loader)
    assert [step for step, _, _ in seen] == list(range(20))
    for step, rows, _ in seen:
        assert ids(rows) == [f"{r.source}:{r.epoch}:{r.index}" for r in expected.step(step)]


def test_the_state_is_that_of_the_step_handed_out_not_of_the_one_read_ahead(tables: dict[str, RowTable]) -> None:
    with StepLoader(blend(tables), tables, 0, 30) as loader:
        whole = [(ids(rows), loader.state()) for _, rows, _ in loader]
    for stop in (0, 11, 28):
        resumed = blend(tables)
        resumed.restore(whole[stop][1])
        with StepLoader(resumed, tables, stop + 1, 30) as loader:
            assert [ids(rows) for _, rows, _ in loader] == [rows for rows, _ in whole[stop + 1 :]]


def test_a_step_waits_for_next_to_nothing_when_training_is_slower(tables: dict[str, RowTable]) -> None:
    waited = 0.0
    with StepLoader(blend(tables), tables, 0, 12) as loader:
        for step, _, seconds in loader:
            waited += seconds if step >= 2 else 0
            time.sleep(0.05)
    assert waited < 0.05 * 10 * 0.25


def test_an_error_of_the_thread_is_raised_where_the_steps_are_used(tables: dict[str, RowTable]) -> None:
    with (
        pytest.raises(InputError, match="has been read 1 times"),
        StepLoader(blend(tables, 1), tables, 0, 999) as loader,
    ):
        for _ in loader:
            pass


def test_closing_early_ends_the_thread(tables: dict[str, RowTable]) -> None:
    loader = StepLoader(blend(tables), tables, 0, 10_000)
    next(iter(loader))
    loader.close()
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "bloomery-loader" and thread.is_alive()]


def test_shares_may_change_beyond_the_horizon(tables: dict[str, RowTable], tmp_path: Path) -> None:
    with StepLoader(blend(tables), tables, 0, 40) as loader:
        steps = iter(loader)
        next(steps)
        with pytest.raises(InputError, match="would change steps already taken"):
            loader.append(Segment(1, {"chat": 1.0}))
        start = loader.horizon + 5
        loader.append(Segment(start, {"chat": 1.0}))
        for step, rows, _ in steps:
            assert step < start or {row.source for row in rows} == {"chat"}
