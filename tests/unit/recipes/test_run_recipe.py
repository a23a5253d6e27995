"""The recipe kept in a run folder means there what it meant where it was written."""

from __future__ import annotations

from pathlib import Path

from bloomery.recipes.load import load_recipe

TEXT = """\
model: start
data: {domain: rows.jsonl}
budget: 1k tokens
steps:
  - train
  - {do: train, name: pairs, set: {data: {domain: pairs.jsonl}, eval.domain: [held.jsonl], seed: 3}}
  - export
eval: {grader: {type: python, path: grade.py}}
"""


def test_models_and_the_files_of_every_step_are_named_in_full(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "recipe.yaml").write_text(TEXT)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "recipe.yaml").write_text(load_recipe(tmp_path / "recipe.yaml").text())
    kept = load_recipe(tmp_path / "kept" / "recipe.yaml")
    assert kept.recipe.model == str(tmp_path / "start")
    assert kept.recipe.data.domain[0].path == str(tmp_path / "rows.jsonl")
    assert kept.recipe.eval.grader == {"type": "python", "path": str(tmp_path / "grade.py")}
    assert kept.recipe.steps[1].set == {
        "data": {"domain": [{"path": str(tmp_path / "pairs.jsonl")}]},
        "eval.domain": [{"path": str(tmp_path / "held.jsonl")}],
        "seed": 3,
    }
    assert kept.text() == load_recipe(tmp_path / "recipe.yaml").text()


def test_a_hub_id_and_a_family_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: org/name\ndata: {domain: rows.jsonl}\n")
    assert "model: org/name" in load_recipe(tmp_path / "recipe.yaml").text()
