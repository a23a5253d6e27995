"""A run that goes on after its data was edited says which file, even where as many rows and tokens are left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import Told, bloomery


@pytest.fixture
def stopped(here: Path) -> Path:
    """A run as a kill after its second checkpoint leaves it."""
    assert bloomery("run", "recipe.yaml", "name=cut", within=here).status == 0
    run = here / "runs" / "cut"
    for name in ("weights", "model"):
        shutil.rmtree(run / name)
    for path in sorted((run / "checkpoints").glob("step-*"))[2:]:
        shutil.rmtree(path)
    return run


def resumed(here: Path) -> Told:
    return bloomery("resume", "cut", within=here)


def test_words_of_equal_length_changed_in_a_file_are_noticed(here: Path, stopped: Path) -> None:
    text = (here / "domain.jsonl").read_text()
    (here / "domain.jsonl").write_text(text.replace("order", "stock"))
    told = resumed(here)
    assert told.status == 2
    assert "source `domain` has other rows" in told.err and "content of `domain.jsonl` changed" in told.err
    (here / "domain.jsonl").write_text(text)
    assert resumed(here).status == 0


def test_data_edited_before_the_first_checkpoint_is_noticed_too(here: Path, stopped: Path) -> None:
    shutil.rmtree(stopped / "checkpoints")
    (here / "general.jsonl").write_text((here / "general.jsonl").read_text().replace("hills", "rocks"))
    told = resumed(here)
    assert told.status == 2 and "content of `general.jsonl` changed" in told.err


def test_a_checkpoint_knows_the_rows_by_itself(here: Path, stopped: Path) -> None:
    receipt = json.loads((stopped / "data-receipt.json").read_text())
    for source in receipt["sources"].values():
        del source["identity"]
    (stopped / "data-receipt.json").write_text(json.dumps(receipt))
    (here / "domain.jsonl").write_text((here / "domain.jsonl").read_text().replace("order", "stock"))
    told = resumed(here)
    assert told.status == 2 and "content of `domain.jsonl` changed" in told.err


def test_an_edited_recipe_is_refused_with_how_to_go_on(here: Path, stopped: Path) -> None:
    recipe = stopped / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("3k tokens", "6k tokens"))
    told = resumed(here)
    assert told.status == 2 and "was edited after this run began" in told.err
    command = told.err.split("`cp ")[1].split("`")[0].split()
    shutil.copy(here / command[0], here / command[1])
    assert resumed(here).status == 0
