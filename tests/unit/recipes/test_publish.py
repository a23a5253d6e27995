"""The card of a model tells nothing that is private."""

from __future__ import annotations

import pytest

from bloomery.recipes.publish import _verdict


@pytest.mark.parametrize(
    ("against", "told"),
    [
        ("toy/hot", "toy/hot"),
        ("/models/private/model", "model"),
        ("the first start, /models/private/model", "the first start, model"),
        ("the first start, ../private", "the first start, private"),
        ("runs/two/steps/1-read", "1-read"),
    ],
)
def test_a_verdict_names_no_path(against: str, told: str) -> None:
    report = {"status": "within", "keep": [{"name": "general", "budget": 0.01, "against": against}]}
    assert _verdict(report) == f"within (general 0.01 against {told})"
