"""Laws of licences: what forbids selling is refused for it, share-alike and unknown ones are named, none is guessed."""

from __future__ import annotations

import pytest

from bloomery.families.licences import NOTES, TERMS, USES, forbids, terms
from bloomery.families.registry import all_families


@pytest.mark.parametrize("licence", ["Apache-2.0", "MIT", "ODC-By", "CC-BY-4.0", "CC0-1.0", "each file's own"])
def test_free_licences_permit_every_use(licence: str) -> None:
    assert not any(forbids(licence, use) for use in USES)


@pytest.mark.parametrize(
    "licence", ["CC-BY-NC-4.0", "cc-by-nc-sa-4.0", "non-commercial", "research only", "ODC-By, parts non-commercial"]
)
def test_non_commercial_data_is_for_research_alone(licence: str) -> None:
    assert forbids(licence, "commercial") and forbids(licence, "internal") and not forbids(licence, "research")


def test_share_alike_is_told_and_not_taken_for_attribution() -> None:
    found = terms("CC-BY-SA-4.0")
    assert found is not None and found.note == "share-alike" and found.note in NOTES


@pytest.mark.parametrize("licence", [None, "", "ask us", "CC", "see the card"])
def test_what_is_not_known_is_not_guessed(licence: str | None) -> None:
    assert terms(licence) is None and not forbids(licence, "commercial")


def test_every_note_has_words() -> None:
    assert {found.note for found in TERMS.values()} - {None} == set(NOTES)


def test_every_licence_of_the_shipped_mixes_is_known() -> None:
    sources = [(f.name, s) for f in all_families()[0] for mix in f.mixes.values() for s in mix]
    assert [(family, s.name, s.licence) for family, s in sources if terms(s.licence) is None] == []
