"""docs/workflow-language.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from bloomery.data.curated.workflow.facts import RELATION_FACTS, WORDS
from bloomery.data.curated.workflow.grammar import KEYWORDS, RELATIONS
from bloomery.data.curated.workflow.transcript import find_programs, mismatches

PAGE = (Path(__file__).parents[3] / "docs" / "workflow-language.md").read_text(encoding="utf-8").replace("\\|", "|")


def test_every_example_of_the_page_gives_what_the_page_shows() -> None:
    assert mismatches(PAGE) == []
    assert sum(bool(shown.printed) for shown in find_programs(PAGE)) >= 6


def test_the_page_and_the_facts_know_every_word() -> None:
    assert set(WORDS) == set(KEYWORDS)
    assert set(RELATION_FACTS) == set(RELATIONS)
    for word, facts in WORDS.items():
        assert f"`{facts.form}`" in PAGE, word
    for relation in RELATIONS:
        assert f"`{relation}`" in PAGE, relation
