"""The checkers of curated tasks decide as people would."""

from __future__ import annotations

from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.data.curated.checks import is_correct, meets, refuses


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ({"constraint": "uppercase"}, "RED.", "Red."),
        ({"constraint": "uppercase"}, "A 1", "11"),
        ({"constraint": "lowercase"}, "red.", "Red."),
        ({"constraint": "words", "count": 3}, "a red lamp.", "a red"),
        ({"constraint": "starts_with", "text": "So"}, "So, it is red", "Some are red"),
        ({"constraint": "ends_with", "text": "now"}, "It is red, now.", "It is red and known"),
        ({"constraint": "ends_with", "text": "!"}, "Red!", "Red."),
        ({"constraint": "quoted"}, '"Red."', '"Red.'),
        ({"constraint": "contains", "text": "sea"}, "like the sea", "have a seat"),
        ({"constraint": "uppercase", "mentions": "red"}, "RED", "BLUE"),
    ],
)
def test_constraints(constraint: dict[str, Any], good: str, bad: str) -> None:
    assert meets(good, constraint)
    assert not meets(bad, constraint)


@pytest.mark.parametrize(
    "text", ["Sorry, I can't help with that.", "I cannot assist you with this", "I won’t do that", "I'm unable to help"]
)
def test_refusals_are_recognised(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", ["Use a sharp knife.", "I can help with that.", "You can't go wrong with soap."])
def test_answers_are_no_refusals(text: str) -> None:
    assert not refuses(text)


def test_the_last_number_counts() -> None:
    assert is_correct("90 + 27 = 117", "", {"grader": "number", "number": 117})
    assert not is_correct("117 = 90 + 27", "", {"grader": "number", "number": 117})


def test_exact_forgives_only_white_space_around() -> None:
    assert is_correct(" 12\n", "12", {"grader": "exact"})
    assert not is_correct("12.", "12", {"grader": "exact"})


@pytest.mark.parametrize("metadata", [{"grader": "vibes"}, {"grader": "constraint", "constraint": "upercase"}])
def test_unknown_checks_are_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        is_correct("x", "x", metadata)
