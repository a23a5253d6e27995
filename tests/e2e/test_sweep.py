"""A sweep is a queue: finished runs stay, what failed or was interrupted goes on, and what it asked cannot change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import bloomery

from bloomery.core.errors import InputError
from bloomery.studies.sweep_file import read_sweep

HEAD = "recipe: recipe.yaml\nname: rates\n"


def sweep(folder: Path, text: str) -> Path:
    path = folder / "rates.yaml"
    path.write_text(HEAD + text)
    return path


def test_every_combination_and_every_run_named_is_an_experiment(here: Path) -> None:
    found = read_sweep(
        sweep(here, "grid: {seed: [0, 1], schedule.lr: [1e-3, 1e-2]}\nruns: [{seed: 9}]\n"), ["threads=1"]
    )
    assert [one.name for one in found.experiments] == [f"rates-0{k}" for k in range(1, 6)]
    assert [dict(one.settings) for one in found.experiments][1:3] == [
        {"seed": 0, "schedule.lr": 1e-2},
        {"seed": 1, "schedule.lr": 1e-3},
    ]
    assert found.experiments[2].loaded.recipe.schedule.lr == 1e-3
    assert {one.loaded.recipe.threads for one in found.experiments} == {1}
    assert found.keys == ["seed", "schedule.lr"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grit: {seed: [0]}\n", r"rates.yaml:3: there is no key `grit` \(did you mean `grid`\?\)"),
        ("grid: {}\n", "the sweep has no experiments"),
        ("grid: {seed: []}\n", "rates.yaml:3: `grid.seed` is an empty list"),
        ("grid: {sed: [0]}\n", "rates.yaml:3: with sed=0: .*no key `sed`"),
        ("grid: {seed: [0]}\nruns: [{seed: -1}]\n", "rates.yaml:4: with seed=-1"),
        ("runs: [{seed: 1}, {seed: 1}]\n", "rates-01 and rates-02 are the same experiment"),
        ("grid: {data.share: [10%, 0.1]}\n", "rates-01 and rates-02 are the same experiment"),
        ("runs: [{name: mine, seed: 1}]\n", "an experiment of a sweep has no `name` of its own"),
        (f"grid: {{seed: {list(range(201))}}}\n", "more than 200"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused_with_its_line(here: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_sweep(sweep(here, text), [])


def test_a_sweep_goes_on_where_it_stopped(here: Path) -> None:
    sweep(here, "grid: {schedule.lr: [1e-3, 1e30]}\n")
    first = bloomery("sweep", "rates.yaml", within=here)
    assert first.status == 1, first.err
    assert [line.split()[:3] for line in first.out.splitlines()[1:]] == [
        ["rates-01", "0.001", "done"],
        ["rates-02", "1e+30", "failed"],
    ]
    again = bloomery("sweep", "rates.yaml", "--json", within=here)
    assert "rates-01" not in again.err and "rates-02 of 2" in again.err
    rows = json.loads(again.out)["runs"]
    assert [row["status"] for row in rows] == ["done", "failed"] and rows[0]["domain"].endswith("%")
    assert (here / "runs" / "rates.sweep" / "table.txt").read_text() == first.out
    changed = bloomery("sweep", "rates.yaml", "seed=3", within=here)
    assert (changed.status, "asked for something else before" in changed.err) == (2, True)
    assert "rates.sweep" not in bloomery("runs", within=here).out


def test_nothing_begins_where_one_experiment_is_refused(here: Path) -> None:
    sweep(here, "grid: {method: [full, qlora]}\n")
    refused = bloomery("sweep", "rates.yaml", within=here)
    assert refused.status == 2 and "rates-02: `method: qlora` needs a GPU" in refused.err
    assert not (here / "runs" / "rates-01").exists()


def test_a_run_of_another_recipe_is_not_taken_for_an_experiment(here: Path) -> None:
    assert bloomery("run", "recipe.yaml", "name=rates-01", within=here).status == 0
    refused = bloomery("sweep", str(sweep(here, "grid: {seed: [7]}\n")), within=here)
    assert refused.status == 2 and "`rates-01` is there already, and is a run of another recipe" in refused.err
    (here / "runs" / "other-01").mkdir()
    (here / "other.yaml").write_text("recipe: recipe.yaml\ngrid: {seed: [7]}\n")
    refused = bloomery("sweep", "other.yaml", within=here)
    assert refused.status == 2 and "`other-01` is there already, and is no run" in refused.err
