"""Easy to hard: what is hard is read from the rows, stages keep equal rows together, and every row is seen as often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokens import jsonl, pairs, texts, tokenizer_folder

from bloomery.core.errors import InputError, Where
from bloomery.core.rows import Segment
from bloomery.data.blend import Blend
from bloomery.data.config import SourceSpec
from bloomery.data.curriculum import documents_of, lengths, shares, staged, stages_of
from bloomery.data.difficulty import by_column, disagreement, number
from bloomery.data.pairs import row_table
from bloomery.data.receipt import data_receipt
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.sources import iter_records
from bloomery.data.store import TokenStore, build_store
from bloomery.data.supply import demand

HERE = Where("rows.jsonl", 3)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tokenizer_folder(tmp_path_factory.mktemp("renderer") / "tokenizer"))


def stored(folder: Path, renderer: Renderer, rows: list[dict[str, Any]]) -> TokenStore:
    jsonl(folder / "rows.jsonl", rows)
    return build_store("mine", SourceSpec(path="rows.jsonl"), folder, renderer, folder / "cache")


def difficulty(folder: Path, store: TokenStore, column: str, value: Any = number) -> Any:
    return by_column(iter_records(SourceSpec(path="rows.jsonl"), folder), store.records, column, value)


@pytest.mark.parametrize(
    ("said", "found"),
    [(0, 0), (1.0, 0), (0.5, 0.5), (0.25, 0.25), ("0.9", 0.1), (["ok", "ok", "bad"], 1 / 3), ([1, 1], 0),
     ({"ok": 3, "bad": 1}, 0.25), ('{"ok": 1, "bad": 1}', 0.5), ('["a", "b", "c"]', 2 / 3)],
)  # fmt: skip
def test_disagreement_is_the_part_that_does_not_say_what_most_say(said: Any, found: float) -> None:
    assert disagreement(said, HERE) == pytest.approx(found)


def test_a_share_and_its_opposite_are_exactly_one_difficulty() -> None:
    assert disagreement(0.714, HERE) == disagreement(0.286, HERE) == disagreement("0.714", HERE)


@pytest.mark.parametrize(
    ("said", "why"),
    [(3, "no share"), (-0.1, "no share"), ([], "empty"), ({}, "no vote"), ({"a": 0}, "no vote"),
     (True, "no number"), (None, "is empty"), ("ok", "no number"), (float("nan"), "no number")],
)  # fmt: skip
def test_what_is_no_agreement_is_refused_with_its_row(said: Any, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        disagreement(said, HERE)
    assert "rows.jsonl:3" in str(refused.value) and "`data.order" in str(refused.value)


def test_a_missing_column_and_a_value_that_is_none_name_file_and_row(tmp_path: Path, renderer: Renderer) -> None:
    rows = [row | {"toxic": n / 10} for n, row in enumerate(texts(10))]
    store = stored(tmp_path, renderer, rows)
    assert difficulty(tmp_path, store, "toxic").tolist() == [n / 10 for n in range(10)]
    with pytest.raises(InputError, match=r"rows.jsonl:1: has no column `toxicity`.*`toxic`"):
        difficulty(tmp_path, store, "toxicity")
    jsonl(tmp_path / "rows.jsonl", [*rows[:6], rows[6] | {"toxic": "very"}, *rows[7:]])
    with pytest.raises(InputError, match=r"rows.jsonl:7: .*'very', which is no number"):
        difficulty(tmp_path, store, "toxic")


def test_stages_hold_every_row_once_easy_before_hard_and_never_cut_equal_ones(
    tmp_path: Path, renderer: Renderer
) -> None:
    levels = [0] * 50 + [1] * 20 + [2] * 10 + [3] * 20
    table = RowTable(stored(tmp_path, renderer, texts(100)), 16)
    documents, tokens = documents_of(table)
    assert documents.tolist() == list(range(100)) and tokens.tolist() == table.store.lengths.tolist()
    stages = stages_of(table, np.array(levels, float), 3, "text")
    assert [stage.table.name for stage in stages] == ["mine@1", "mine@2", "mine@3"]
    found = [np.unique(stage.table.documents()).tolist() for stage in stages]
    assert sorted(doc for own in found for doc in own) == list(range(100))
    assert [(stage.easiest, stage.hardest) for stage in stages] == [(0, 0), (1, 2), (3, 3)]
    assert sum(stage.table.n_tokens for stage in stages) == table.n_tokens


def test_stages_of_many_difficulties_have_about_as_many_tokens_each(tmp_path: Path, renderer: Renderer) -> None:
    table = RowTable(stored(tmp_path, renderer, texts(90)), 64)
    stages = stages_of(table, np.random.default_rng(1).random(90), 3, "text")
    sizes = [stage.table.n_tokens for stage in stages]
    assert max(sizes) - min(sizes) <= 2 * int(table.store.lengths.max())


def test_too_few_rows_or_difficulties_for_the_stages_are_refused(tmp_path: Path, renderer: Renderer) -> None:
    table = RowTable(stored(tmp_path, renderer, texts(4)), 64)
    with pytest.raises(InputError, match=r"4 documents, fewer than `data.order.stages: 5`"):
        stages_of(table, np.arange(4.0), 5, "text")
    with pytest.raises(InputError, match=r"one difficulty \(0.5\).*\n.*order: shuffle"):
        stages_of(table, np.full(4, 0.5), 2, "text")
    with pytest.raises(InputError, match=r"2 different difficulties, fewer than .*3`\n.*`stages: 2`"):
        stages_of(table, np.array([0.0, 0, 1, 1]), 3, "text")


@pytest.mark.parametrize("sizes", [[100, 100, 100], [700, 150, 150], [300, 500, 10, 190]])
@pytest.mark.parametrize("replay", [0.1, 0.25])
def test_every_stage_is_drawn_in_proportion_to_its_tokens(sizes: list[int], replay: float) -> None:
    long = lengths(sizes, replay, "mine")
    assert sum(long) == pytest.approx(1) and min(long) > 0
    drawn = [sum(long[s] * shares(sizes, s, replay)[t] for s in range(len(sizes))) for t in range(len(sizes))]
    assert drawn == pytest.approx([size / sum(sizes) for size in sizes])
    for stage in range(1, len(sizes)):
        assert sum(shares(sizes, stage, replay)[:stage]) == pytest.approx(replay)


def test_replay_that_uses_a_stage_up_is_refused() -> None:
    with pytest.raises(InputError, match="later stages replay all of stage 1"):
        lengths([100, 100, 100], 0.6, "mine")


def test_stages_follow_the_share_of_their_source_through_phases() -> None:
    whole = [Segment(0, {"mine": 0.2, "other": 0.8}), Segment(50, {"mine": 0.8, "other": 0.2})]
    found = staged(whole, 100, {"mine": [1, 1]}, 0.1)
    # 50 steps of 0.2 and 50 of 0.8 are 50 of the source; its second stage lasts 5/9 of that: the last 27.8 / 0.8
    assert [part.start for part in found] == [0, 50, 65]
    assert found[0].share == {"mine@1": 0.2, "other": 0.8} and found[1].share == {"mine@1": 0.8, "other": 0.2}
    assert found[2].share == pytest.approx({"mine@1": 0.08, "mine@2": 0.72, "other": 0.2})
    asked = demand(found, 100, 1000)
    assert asked["mine@1"] == pytest.approx(asked["mine@2"], rel=0.03)
    with pytest.raises(InputError, match="less than one of the run's 2 steps"):
        staged([Segment(0, {"mine": 1.0})], 2, {"mine": [1, 1, 1]}, 0.1)


def test_a_source_that_an_arm_leaves_out_has_no_stages_there() -> None:
    assert staged([Segment(0, {"other": 1.0})], 5, {"mine": [1, 1]}, 0.1) == [Segment(0, {"other": 1.0})]


def test_stages_of_pairs_in_one_step_keep_their_groups_apart(tmp_path: Path, renderer: Renderer) -> None:
    rows = [{"prompt": f"say {n}", "chosen": f"fine {n}", "rejected": f"bad {n}"} for n in range(20)]
    table = row_table(stored(tmp_path, renderer, rows), 64, objective="dpo")
    stages = stages_of(table, np.arange(20.0), 2, "dpo")
    groups = [row.group_id for stage in stages for row in stage.table.rows(0)]
    assert groups == ["mine@1:0:0"] * 2 + ["mine@2:0:0"] * 2


def test_the_receipt_of_a_source_is_the_sum_of_its_stages(tmp_path: Path, renderer: Renderer) -> None:
    table = RowTable(stored(tmp_path, renderer, pairs(60)), 64)
    stages = stages_of(table, np.arange(60.0), 3, "sft")
    tables = {stage.table.name: stage.table for stage in stages}
    sizes = {"mine": [stage.table.n_tokens for stage in stages]}
    blend = Blend(tables, staged([Segment(0, {"mine": 1.0})], 20, sizes, 0.1), table.n_tokens // 20, 1, 4)
    for step in range(20):
        blend.step(step)
    told = json.loads(json.dumps(data_receipt({"mine": table}, blend, stages={"mine": stages})))["sources"]["mine"]
    assert [stage["name"] for stage in told["stages"]] == ["mine@1", "mine@2", "mine@3"]
    for key in ("tokens", "rows", "trained_tokens"):
        assert told["taken"][key] == sum(stage["taken"][key] for stage in told["stages"])
    assert told["taken"]["epochs"] == pytest.approx(1, abs=0.03) and told["taken"]["share"] == 1
    for stage in told["stages"]:  # as often as shuffled rows, to within a step
        assert stage["taken"]["tokens"] == pytest.approx(stage["tokens"], rel=0.12)
