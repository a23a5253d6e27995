"""The recipe that a study writes extends the studied one, and means what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.recipes.load import load_recipe
from bloomery.studies.recommend import write_recipe

WEIGHTS = {"documentation": 0.612, "skills": 0.358, "constraints": 0.02, "refusals": 0.01}


@pytest.mark.parametrize(
    "curated",
    ["", "  curated: {documentation: 60%, skills: 40%}\n", "  curated: {mix: auto}\n", "  curated: pretrained\n"],
)
@pytest.mark.parametrize("override", [[], ["budget=7k tokens"]])
def test_the_blend_is_laid_over_the_recipe(tmp_path: Path, curated: str, override: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"family: ember\ndata:\n  domain: [{{path: rows.jsonl}}]\n  share: 50%\n{curated}budget: 9k tokens\n"
    )
    loaded = load_recipe(path, override)
    found = load_recipe(write_recipe(loaded, tmp_path / "runs" / "tuned.yaml", 0.22, WEIGHTS))
    assert found.recipe.data.share == 0.22
    assert found.recipe.data.curated.categories == pytest.approx(WEIGHTS)
    assert found.recipe.budget == loaded.recipe.budget
    assert Path(str(found.recipe.data.domain[0].path)).parent in (tmp_path, Path())
    assert ("extends" in found.data) == (not override)


def test_without_weights_only_the_share_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: ember\ndata: {domain: [{path: rows.jsonl}], curated: demo}\nbudget: 9k tokens\n")
    found = load_recipe(write_recipe(load_recipe(path), tmp_path / "tuned.yaml", 0.3, None))
    assert (found.recipe.data.share, found.recipe.data.curated.mix) == (0.3, "demo")
