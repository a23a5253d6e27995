"""What each family has for a way back, and which stage that leads to."""

from __future__ import annotations

import pytest

from bloomery.core.errors import InputError
from bloomery.families.registry import load_family
from bloomery.studies.reentry import _later, _merges, _mixes, read_options


@pytest.mark.parametrize(
    ("family", "anneal", "sft"),
    [
        ("ember", "midtrained", "posttrained"),
        ("olmo2-1b", "midtrained", "sft"),
        ("olmo3-7b", "midtrained", "instruct-sft"),
        ("smollm3-3b", "midtrained", "sft"),
    ],
)
def test_an_open_family_is_re_annealed_on_its_own_data(family: str, anneal: str, sft: str) -> None:
    found = load_family(family)
    assert _later(found, "pretrained", None) == "posttrained"
    assert _mixes(found, "pretrained", "posttrained") == (anneal, sft, "")


@pytest.mark.parametrize("family", ["qwen3-0.6b", "gemma3-1b", "llama3-1b"])
def test_a_closed_family_is_merged_only(family: str) -> None:
    anneal, sft, why_not = _mixes(load_family(family), "pretrained", "posttrained")
    assert (anneal, sft) == (None, None) and "merges and grafts only" in why_not


def test_a_middle_stage_needs_no_fine_tuning() -> None:
    ember = load_family("ember")
    assert _mixes(ember, "pretrained", _later(ember, "pretrained", "midtrained")) == ("midtrained", None, "")


@pytest.mark.parametrize(
    ("family", "start", "to", "says"),
    [
        ("pythia-14m", "pretrained", None, "no stage after `pretrained`"),
        ("ember", "posttrained", None, "no stage after `posttrained`"),
        ("ember", "midtrained", "pretrained", "is no later stage than `midtrained`"),
    ],
)
def test_there_must_be_a_later_stage(family: str, start: str, to: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        _later(load_family(family), start, to)


def test_what_is_another_candidate_already_is_not_tried_twice() -> None:
    assert [one.name for one in _merges(1.0)] == ["graft 1", "ties 1"]
    assert [one.name for one in _merges(0.5)] == ["graft 0.5", "linear 0.5", "slerp 0.5", "ties 0.5"]
    assert [one.by for one in _merges(0.3)] == ["graft", "linear", "slerp", "task", "ties"]


def test_options_are_read_as_people_write_them() -> None:
    assert read_options("200k tokens", "0.3,1", "2%") == (200_000, (0.3, 1.0), 0.02)
    assert read_options(None, "0.5", None) == (None, (0.5,), None)
