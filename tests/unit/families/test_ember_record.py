"""The weights of ember are those that the recipes beside them describe."""

from __future__ import annotations

import json
import re

import pytest

from bloomery.core.resources import families_dir
from bloomery.families.registry import load_family
from bloomery.recipes.load import load_recipe

EMBER = families_dir() / "ember"
BEFORE = {"pretrained": "scaffold", "midtrained-warm": "pretrained", "midtrained": "midtrained-warm"}


@pytest.mark.parametrize("stage", ["pretrained", "midtrained-warm", "midtrained", "posttrained"])
def test_a_stage_read_what_its_recipe_says(stage: str) -> None:
    family, recipe = load_family("ember"), load_recipe(EMBER / "recipes" / f"{stage}.yaml").recipe
    receipt = json.loads((EMBER / stage / "data-receipt.json").read_text())["sources"]
    assert recipe.budget is not None and recipe.data.curated.mix is not None
    mix = {source.name: source.share for source in family.mix(recipe.data.curated.mix)}
    assert {name: one["taken"]["share"] for name, one in receipt.items()} == pytest.approx(mix, abs=0.002)
    read = sum(one["taken"]["tokens"] for one in receipt.values())
    assert read == pytest.approx(recipe.budget.value, rel=0.002)
    before = family.checkpoint(BEFORE.get(stage, "midtrained")).tokens
    assert family.checkpoint(stage).tokens == pytest.approx(before + read, rel=0.01)


def test_cards_hold_no_path_of_the_machine_that_made_them() -> None:
    for card in EMBER.glob("*/README.md"):
        assert not re.search(r"(?<![\w:/.])/[a-z]+/[a-z]", card.read_text()), card
