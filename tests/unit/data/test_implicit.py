"""Votes and removals become labels by the stated mapping; rows are split by time and by community."""

from __future__ import annotations

from typing import Any

import pytest

from bloomery.core.errors import InputError, Where
from bloomery.data.config import Signals, SourceSpec
from bloomery.data.implicit import drawn, soft_label
from bloomery.data.partition import by_group, by_time
from bloomery.data.readers import Record
from bloomery.data.shapes import detect, to_example

MAPPING: dict[str, Any] = {
    "ask": "toxic?",
    "context": ["rule"],
    "prior": {"yes": 1, "no": 1},
    "weights": {"removed": {"yes": 6}, "reactions.like": {"no": 0.5}},
}
HERE = Where("rows.jsonl", 1)


def test_a_soft_label_is_each_labels_share_of_the_evidence() -> None:
    fields = {"removed": True, "reactions": {"like": 4}}
    assert soft_label(fields, Signals(**MAPPING).model_dump(), HERE) == pytest.approx({"yes": 0.7, "no": 0.3})
    assert soft_label({}, Signals(**MAPPING).model_dump(), HERE) == {"yes": 0.5, "no": 0.5}


def test_labels_are_drawn_as_often_as_the_soft_label_says_and_always_alike() -> None:
    soft = {"yes": 0.7, "no": 0.3}
    said = [drawn(soft, str(k)) for k in range(20000)]
    assert said.count("yes") / 20000 == pytest.approx(0.7, abs=0.02)
    assert said == [drawn(soft, str(k)) for k in range(20000)]
    assert {drawn({"yes": 1.0, "no": 0.0}, str(k)) for k in range(100)} == {"yes"}


def test_a_row_of_signals_is_a_prompt_with_its_context() -> None:
    spec = SourceSpec(path="rows.jsonl", signals=Signals(**MAPPING))
    record = Record({"id": 7, "text": "go away", "rule": "be kind", "removed": 1e9, "likes": 0}, HERE)
    example = to_example(record, detect(record, spec))
    assert "rule: be kind\ngo away\ntoxic?" in str(example.messages[0]).replace("\\n", "\n")
    assert "yes" in str(example.messages[1])
    assert example.example_id == "7"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"removed": 1}, "no text"),
        ({"text": "x", "removed": "often"}, "no count"),
        ({"text": "x", "removed": -1}, "no count"),
    ],
)
def test_a_row_that_says_nothing_sure_is_refused_with_its_place(fields: dict[str, Any], said: str) -> None:
    spec = SourceSpec(path="rows.jsonl", signals=Signals(**MAPPING))
    with pytest.raises(InputError, match=said) as caught:
        detect(Record(fields, HERE), spec)
    assert caught.value.where == HERE


@pytest.mark.parametrize(
    "change", [{"weights": {"removed": {"maybe": 1}}}, {"prior": {"yes": -1, "no": 1}}, {"prior": {"yes": 1}}]
)
def test_a_mapping_that_cannot_work_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"prior|evidence"):
        Signals(**(MAPPING | change))


def test_later_rows_and_unseen_communities_are_held_out_whole() -> None:
    rows = [{"day": f"2024-01-{1 + k // 2:02}", "place": f"c{k % 5}"} for k in range(20)]
    seen, held = by_time(rows, "day", 0.15)
    assert held == [16, 17, 18, 19]  # rows of one moment stay together
    assert sorted(seen + held) == list(range(20))
    seen, held = by_group(rows, "place", 0.2)
    assert {rows[k]["place"] for k in seen}.isdisjoint(rows[k]["place"] for k in held)
    assert len(held) == 4
    with pytest.raises(InputError, match="no time"):
        by_time([{"day": "soon"}, {"day": 3}], "day", 0.5)
    with pytest.raises(InputError, match="nothing can be held out"):
        by_time([{"day": 3}, {"day": 3}], "day", 0.5)
