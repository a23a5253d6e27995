"""The front holds what nothing beats, and the rule keeps the best domain among those that stay within the budget."""

from __future__ import annotations

import math

import pytest

from bloomery.core.intervals import Interval
from bloomery.evals.compare import Change
from bloomery.studies.front import Standing, choose, dominates, front, preferred


def model(name: str, domain: float, general: float = 0.0, skills: float = 0.0, baseline: bool = False) -> Standing:
    """Changes against the reference: bits of the domain and of general text, and points of skills (more is better)."""

    def change(group: str, kind: str, by: float) -> Change:
        return Change(group, group, kind, 10, 1.0, 1.0 + by, Interval(by, by, by))

    found = {"domain": change("domain", "bpb", domain), "general": change("general", "bpb", general)}
    return Standing(name, found | {"skills": change("skills", "generate", skills)}, baseline)


LATER = model("later", 0.0, baseline=True)
TRAINED = model("trained", -0.5, 0.3, -0.8, baseline=True)


def test_more_points_are_better_and_more_bits_are_worse() -> None:
    assert model("a", -0.1, 0.2, 0.3).objectives == (-0.1, 0.2, -0.3)


def test_the_front_holds_what_nothing_dominates() -> None:
    good, beaten = model("good", -0.3, 0.01, -0.01), model("beaten", -0.2, 0.02, -0.01)
    assert dominates(good, beaten) and not dominates(good, good)
    assert [one.name for one in front([LATER, beaten, good, TRAINED])] == ["trained", "good", "later"]
    assert front([model("nan", math.nan)]) == []


@pytest.mark.parametrize(
    ("candidates", "keep", "kept"),
    [
        ([model("far", -0.4, 0.05), model("near", -0.2, 0.01)], 0.02, "near"),
        ([model("far", -0.4, 0.05), model("near", -0.2, 0.01)], 0.05, "far"),
        ([model("dull", -0.4, 0.0, -0.05), model("near", -0.2)], 0.02, "near"),
        ([model("far", -0.4, 0.05)], 0.02, None),
        ([model("worse", 0.1, -0.01)], 0.02, None),
        ([], 0.02, None),
    ],
)
def test_the_best_domain_within_the_budget_is_kept_or_none(
    candidates: list[Standing], keep: float, kept: str | None
) -> None:
    found = choose([LATER, TRAINED, *candidates], keep)
    assert (found and found.name) == kept


def test_a_baseline_is_never_kept() -> None:
    assert choose([LATER, model("trained", -0.5, baseline=True)], 0.02) is None


def test_the_rule_ranks_those_outside_the_budget_by_how_far_they_are() -> None:
    far, near, within = model("far", -0.5, 0.2), model("near", -0.3, 0.1), model("within", -0.01)
    assert preferred([far, near], 0.02) is near and preferred([far, within, near], 0.02) is within
