"""What `families list` and `families show` print: every checkpoint with its rates, every mix, every doubt."""

from __future__ import annotations

import re

import pytest

from bloomery.families.describe import count, described, in_order, listed
from bloomery.families.registry import all_families, load_family


def test_the_page_of_a_family_has_everything() -> None:
    text = described(load_family("olmo3-7b"))
    assert text.startswith(
        "Olmo 3 7B: Apache-2.0, Olmo3ForCausalLM, 7.3B weights, context 65,536, transformers >= 4.57"
    )
    assert "weights     allenai/Olmo-3-1025-7B@stage1-step1413814  [secondary]" in text
    assert "rate        stated 3e-05, computed 3.9325e-05, published 3e-05" in text
    assert re.search(r"midtrained  mid, cold\n.*\n.*\n  rate +computed 0, published 0\n", text)
    assert "averaging   raw" in text
    assert " 96.00%  dolmino: allenai/dolma3_dolmino_mix-100B-1025, ODC-By  [secondary]" in text
    assert "22.50% web" in text
    assert "evidence: primary where nothing else is said" in text
    assert "recalled: curated.think-sft" in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ember", "scaffold  a configuration without weights\n"),
        ("llama3-8b", "gated, data closed"),
        ("llama3-8b", "no curated data"),
        ("llama3-8b", "rate        not known"),
        ("marin-8b", "starling  mid, cold, not taken by `start: auto`"),
        ("marin-8b", "averaging   ema"),
        ("smollm3-3b", "fine-tuning 2e-05"),
        ("smollm3-3b", "averaging   soup  [recalled]"),
        ("olmo2-13b", "rate        computed 9e-05  [recalled], published 9e-05\n  peak        0.0009  [recalled]\n"),
        ("olmo2-32b", "rate        computed 0, published 0\n  peak        0.0006\n"),
        ("nemotron3-nano-30b", "batch       25,165,824 tokens  [computed]"),
    ],
)
def test_what_is_special_is_said(name: str, says: str) -> None:
    assert says in described(load_family(name))


def test_every_family_can_be_described() -> None:
    for family in all_families()[0]:
        text = described(family)
        assert all(f"\n{stage}  " in text for stage in family.file.checkpoints), family.name


def test_the_list_is_ordered_by_size_within_a_series() -> None:
    names = [family.name for family in in_order(all_families()[0])]
    assert names.index("olmo2-7b") < names.index("olmo2-13b") < names.index("olmo2-32b")
    assert names.index("smollm2-360m") < names.index("smollm2-1.7b") < names.index("smollm3-3b")


def test_a_line_of_the_list_groups_stages_by_class() -> None:
    assert listed(load_family("olmo2-1b").file) == [
        "olmo2-1b", "1.48B", "warm: pretrained; cold: midtrained, posttrained", "Apache-2.0",
    ]  # fmt: skip
    assert listed(load_family("ember").file)[2].startswith("empty: scaffold; hot: pretrained; warm: midtrained-warm")


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12"), (3_220_000, "3.22M"), (8_030_261_248, "8.03B"), (15e12, "15T")]
)
def test_numbers_are_short(number: int, text: str) -> None:
    assert count(number) == text
