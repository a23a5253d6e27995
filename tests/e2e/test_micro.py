"""A micro-run trains as a run does, leaves only its points, and is read back when it is finished."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny import bloomery

from bloomery.core.errors import InputError
from bloomery.core.events import read_events
from bloomery.recipes.load import Loaded, load_recipe
from bloomery.studies.micro import micro_run

WITH_FAMILY = "family: toy\nstart: hot\ndata: {domain: [{path: domain.jsonl}]}\nbudget: 3k tokens\nthreads: 1\n"


@pytest.fixture
def recipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.chdir(here)
    (here / "toy.yaml").write_text(WITH_FAMILY + "memory: {device: cpu}\narms: [domain-only]\nkeep: {general: 1%}\n")
    return load_recipe("toy.yaml")


def test_a_micro_run_is_scored_at_its_start_half_way_and_at_its_end(recipe: Loaded, tmp_path: Path) -> None:
    start, middle, end = micro_run(recipe, ["data.share=25%", "budget=2k tokens"], tmp_path / "one")
    assert (start.tokens, start.ended, middle.ended, end.ended) == (0, False, False, True)
    assert 0 < middle.tokens < end.tokens and abs(end.tokens - 2000) < 300
    assert end.domain < middle.domain < start.domain and math.isfinite(end.general)
    assert (end.start, end.share, end.run, end.weights) == ("toy/hot", 0.25, "one", {"general": 1.0})


def test_it_leaves_no_weights_and_is_read_back(recipe: Loaded, tmp_path: Path) -> None:
    points = micro_run(recipe, ["budget=1k tokens"], tmp_path / "one")
    assert not [*tmp_path.rglob("*.safetensors")] and not (tmp_path / "one" / "eval").exists()
    begun = len([*read_events(tmp_path / "one" / "events.jsonl", "start")])
    assert micro_run(recipe, ["budget=1k tokens"], tmp_path / "one") == points
    assert len([*read_events(tmp_path / "one" / "events.jsonl", "start")]) == begun == 1
    with pytest.raises(InputError, match="holds a micro-run of another recipe"):
        micro_run(recipe, ["budget=2k tokens"], tmp_path / "one")


def test_its_steps_are_those_of_a_run_of_the_same_recipe(recipe: Loaded, here: Path) -> None:
    micro_run(recipe, ["budget=1k tokens"], here / "micro")
    told = bloomery("run", "toy.yaml", "budget=1k tokens", "arms=[]", "steps=[train]", within=here)
    assert told.status in (0, 3, 4), told.err
    micro, whole = (
        [(event["loss"], event["learning_rate"]) for event in read_events(folder / "events.jsonl", "step")]
        for folder in (here / "micro", here / "runs" / "toy")
    )
    assert micro == whole and len(micro) > 1


class StopAfter:
    """A request to stop that comes after some steps."""

    number = 2

    def __init__(self, steps: int) -> None:
        self.left = steps

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left <= 0

    def __enter__(self) -> StopAfter:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def test_an_interrupted_one_goes_on_and_ends_where_it_would_have(
    recipe: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["budget=2k tokens", "data.share=40%"]
    whole = micro_run(recipe, asked, tmp_path / "a" / "one")
    with monkeypatch.context() as patched:
        patched.setattr("bloomery.train.loop.stop_requests", lambda told: StopAfter(3))
        with pytest.raises(KeyboardInterrupt):
            micro_run(recipe, asked, tmp_path / "b" / "one")
    assert not (tmp_path / "b" / "one" / "points.json").exists()
    again = micro_run(recipe, asked, tmp_path / "b" / "one")
    assert (again[0], again[-1]) == (whole[0], whole[-1])
    assert [*read_events(tmp_path / "b" / "one" / "events.jsonl", "resume")]


def test_a_budget_that_is_held_is_not_held_in_a_micro_run(here: Path, recipe: Loaded, tmp_path: Path) -> None:
    (here / "held.yaml").write_text((here / "toy.yaml").read_text().replace("general: 1%", "general: 1%, hold: true"))
    points = micro_run(load_recipe("held.yaml"), ["budget=1k tokens"], tmp_path / "one")
    kept = load_recipe(tmp_path / "one" / "recipe.yaml").recipe.keep
    assert points[-1].ended and kept.general == 0.01 and not kept.hold
