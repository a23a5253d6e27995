"""The manual of the language: one page at a time, of fifteen kinds, never the same twice.

Everything that a page claims comes from the code: forms and facts from `facts.py`, programs from the sampler,
results and error messages from the interpreter that runs on the very tables the page shows.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bloomery.data.curated.workflow.manual_guides import (
    change_page,
    exercise_page,
    howto_page,
    reading_page,
    tutorial_page,
    two_ways_page,
    worked_page,
)
from bloomery.data.curated.workflow.manual_news import (
    faq_page,
    log_page,
    mistake_page,
    release_page,
    runtime_mistake_page,
)
from bloomery.data.curated.workflow.manual_reference import glossary_page, keyword_page, relation_page, table_page
from bloomery.data.curated.workflow.sampler import SPLITS, check_choice

PAGES: dict[str, tuple[int, Callable[[Random, str], str]]] = {
    "keyword": (5, keyword_page),
    "relation": (2, relation_page),
    "table": (2, table_page),
    "glossary": (1, glossary_page),
    "tutorial": (3, tutorial_page),
    "howto": (4, howto_page),
    "worked": (4, worked_page),
    "reading": (3, reading_page),
    "two ways": (1, two_ways_page),
    "change": (2, change_page),
    "exercise": (4, exercise_page),
    "faq": (2, faq_page),
    "mistake": (3, mistake_page),
    "runtime mistake": (2, runtime_mistake_page),
    "release": (1, release_page),
    "log": (2, log_page),
}
"""Kind of page -> how often it comes, and the function that writes one."""


def page(rng: Random, split: str) -> str:
    """One page of a random kind, 200 to 1,500 characters; its programs all belong to the split."""
    check_choice("split", split, SPLITS)
    kinds, weights = list(PAGES), [weight for weight, _ in PAGES.values()]
    return PAGES[rng.choices(kinds, weights)[0]][1](rng, split)
