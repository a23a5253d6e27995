"""Every cell of the rule table: kind, volume and distance to a stage, and what general loss is on record to do."""

from __future__ import annotations

from typing import get_args

import pytest

from bloomery.families.registry import all_families, load_family
from bloomery.families.rules import RULES, Distance, Kind, choose_start, domain_share, forgetting, rule_for

CELLS = [
    ("sft", 5e5, "unknown", "post", "lora"),
    ("sft", 5e6, "unknown", "post", "full"),
    ("sft", 1e9, "unknown", "mid", "full"),
    ("sft", 2e10, "unknown", "pre", "full"),
    ("mixed", 5e6, "far", "mid", "full"),
    ("mixed", 2e10, "near", "pre", "full"),
    ("reasoning", 5e5, "unknown", "post", "full"),
    ("reasoning", 5e6, "far", "mid", "full"),
    ("tools", 5e5, "unknown", "post", "full"),
    ("tools", 5e6, "unknown", "mid", "full"),
    ("preference", 1e9, "unknown", "post", "full"),
    ("judged", 1e3, "unknown", "post", "full"),
    ("reward", 1e5, "unknown", "post", "full"),
    ("text", 5e5, "near", "post", "full"),
    ("text", 5e6, "near", "post", "full"),
    ("text", 5e8, "near", "mid", "full"),
    ("text", 2e10, "near", "pre", "full"),
    ("text", 5e5, "far", "mid", "full"),
    ("text", 5e6, "far", "mid", "full"),
    ("text", 5e7, "far", "pre", "full"),
    ("text", 2e10, "far", "pre", "full"),
    ("text", 5e7, "unknown", "mid", "full"),
    ("text", 5e8, "unknown", "pre", "full"),
]


@pytest.mark.parametrize(("kind", "tokens", "distance", "stage", "method"), CELLS)
def test_a_cell_has_its_stage_and_method(
    kind: Kind, tokens: float, distance: Distance, stage: str, method: str
) -> None:
    found = rule_for(kind, tokens, distance)
    assert (found.stage, found.method) == (stage, method)
    assert found.why


def test_every_rule_is_the_one_of_some_cell() -> None:
    used = [rule_for(kind, tokens, distance) for kind, tokens, distance, *_ in CELLS]  # type: ignore[arg-type]
    assert {id(rule) for rule in RULES} == {id(rule) for rule in used}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_volume_and_distance_has_a_rule_in_every_family(kind: Kind) -> None:
    for family in all_families()[0]:
        for tokens in (1.0, 1e6, 1e7, 1e9, 1e13):
            for distance in get_args(Distance):
                assert choose_start(family, kind, tokens, distance)[0] in family.file.checkpoints


def test_what_cannot_be_trained_or_should_not_be_says_what_to_do_first() -> None:
    assert "not available yet" in rule_for("reward", 1e5).first
    assert "retrieval" in rule_for("text", 1e5, "near").first
    assert "EntiGraph" in rule_for("text", 5e6, "far").first


def test_far_text_is_repeated_and_enters_earlier_than_near_text() -> None:
    ember = load_family("ember")
    assert choose_start(ember, "text", 1e5, "near")[0] == "posttrained"
    assert choose_start(ember, "text", 1e5, "far")[0] == "midtrained-warm"
    assert choose_start(ember, "text", 5e7, "far")[0] == "pretrained"
    assert rule_for("text", 1e6, "far").epochs == 4 > rule_for("text", 1e6, "near").epochs


def test_a_strict_budget_takes_less_domain_and_a_larger_model_bears_more() -> None:
    small, large = domain_share(0.005, "far", 3_000_000)[0], domain_share(0.005, "far", 8_000_000_000)[0]
    assert small < large < domain_share(0.05, "far", 8_000_000_000)[0] < domain_share(None, "near", None)[0]


def test_the_share_of_a_strict_budget_lies_between_the_sizes_that_were_measured() -> None:
    assert domain_share(0.005, "far", 460_000_000)[0] == 0.3
    assert domain_share(0.005, "far", 1_200_000_000)[0] == pytest.approx(0.39, abs=0.005)  # half-way by logarithm
    assert domain_share(0.005, "far", 3_100_000_000)[0] == 0.48
    for outside in (3_000_000, 70_000_000_000):
        assert "lies outside" in domain_share(0.005, "far", outside)[1]
    assert "between them" in domain_share(0.005, "far", 1_200_000_000)[1]


def test_more_domain_is_never_on_record_to_forget_less() -> None:
    for parameters in (3_000_000, 1_000_000_000, 8_000_000_000):
        highs = [forgetting(share, parameters).high for share in (0.1, 0.3, 0.45, 0.5, 0.75, 1.0)]
        assert highs == sorted(highs)
