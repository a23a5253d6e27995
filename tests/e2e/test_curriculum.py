"""Easy to hard, from recipe to report: what a step draws, what is told, and that a resumed run draws the same."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from killed import run_to
from tiny import bloomery, documents, pairs, preference_rows, weights, write_rows

LEVELS = "data.order={by: column, column: level, stages: 3}"


def levelled(here: Path, rows: list[dict[str, Any]], name: str = "domain.jsonl") -> None:
    """The domain's rows with a column `level`: the later a row, the harder, but in an order that does not show it."""
    write_rows(
        here / name, [row | {"level": n} for n, row in sorted(enumerate(rows), key=lambda one: one[0] * 37 % 61)]
    )


def told_of(run: Path) -> dict[str, Any]:
    """The receipt's part about the domain."""
    sources: dict[str, Any] = json.loads((run / "data-receipt.json").read_text())["sources"]
    return next(source for source in sources.values() if "stages" in source)


def values(run: Path) -> dict[str, Any]:
    return {key: told["value"] for key, told in json.loads((run / "plan.json").read_text())["values"].items()}


def test_a_run_goes_from_easy_to_hard_and_tells_so(here: Path) -> None:
    levelled(here, documents("domain", 0, 120))
    before = bloomery("explain", "recipe.yaml", LEVELS, within=here)
    assert "stages  domain: by estimate 1 from step 0, 2 from step" in before.out, before.out + before.err
    done = bloomery("run", "recipe.yaml", LEVELS, "budget=6k tokens", "name=easy", within=here)
    assert done.status == 0, done.err
    run = here / "runs" / "easy"
    source = told_of(run)
    assert [stage["name"] for stage in source["stages"]] == ["domain@1", "domain@2", "domain@3"]
    bounds = [(stage["easiest"], stage["hardest"]) for stage in source["stages"]]
    assert bounds[0][0] == 0 and bounds[2][1] == 119
    assert all(one[1] < other[0] for one, other in zip(bounds, bounds[1:], strict=False))
    epochs = [stage["taken"]["tokens"] / stage["tokens"] for stage in source["stages"]]
    assert (
        max(epochs) - min(epochs) < 0.25
        and sum(s["taken"]["tokens"] for s in source["stages"]) == source["taken"]["tokens"]
    )
    assert "domain@3" in (run / "report.html").read_text()
    after = bloomery("explain", "recipe.yaml", LEVELS, "budget=6k tokens", within=here)
    assert "domain: 1 from step 0 (0 to " in after.out and "119)" in after.out


def test_the_first_steps_are_easy_and_every_later_stage_replays(here: Path) -> None:
    levelled(here, documents("domain", 0, 120))
    recipe = ("recipe.yaml", LEVELS, "budget=12k tokens", "data.curated=none", "optim.batch=1k tokens")
    shown = [bloomery("data", "show", *recipe, "--step", str(step), within=here) for step in (0, 11)]
    assert "domain@1" in shown[0].out and "domain@2" not in shown[0].out, shown[0].err
    assert all(f"domain@{stage}" in shown[1].out for stage in (1, 2, 3))


def test_killed_and_resumed_is_bit_identical_through_the_stages(here: Path) -> None:
    levelled(here, documents("domain", 0, 120))
    for name in ("whole", "again"):
        recipe = ("run", "recipe.yaml", LEVELS, f"name={name}", "eval.suites=none")
        if name == "whole":
            assert bloomery(*recipe, within=here).status == 0
        else:
            assert run_to(here, *recipe, at="bloomery.train.trainer:train_step", times=8) == -signal.SIGKILL
            assert bloomery("resume", name, within=here).status == 0
    whole, again = (here / "runs" / name for name in ("whole", "again"))
    assert weights(whole) == weights(again) and told_of(whole) == told_of(again)


def test_levels_that_change_are_noticed_when_a_run_goes_on(here: Path) -> None:
    levelled(here, documents("domain", 0, 120))
    assert run_to(here, "run", "recipe.yaml", LEVELS, "name=cut", at="bloomery.train.trainer:train_step", times=8) < 0
    write_rows(here / "domain.jsonl", [row | {"level": n} for n, row in enumerate(documents("domain", 0, 120))])
    told = bloomery("resume", "cut", within=here)
    assert (told.status, "has other rows than when this run was saved" in told.err) == (2, True)


def test_the_loss_of_the_start_is_a_difficulty_and_is_measured_once(here: Path) -> None:
    changes = (
        "data.domain.0.path=pairs.jsonl",
        "data.order={by: loss, stages: 2}",
        "data.context=64",
        "budget=2k tokens",
    )
    first = bloomery("run", "recipe.yaml", *changes, "name=first", within=here)
    assert first.status == 0, first.err
    assert "measuring how hard the rows of pairs are by loss" in first.err
    easy, hard = told_of(here / "runs" / "first")["stages"]
    assert 0 < easy["hardest"] < hard["easiest"] and values(here / "runs" / "first")["objective"] == "sft"
    again = bloomery("run", "recipe.yaml", *changes, "name=again", "schedule.lr=1e-3", within=here)
    assert again.status == 0 and "measuring how hard" not in again.err


def test_pairs_are_staged_by_what_annotators_think_of_them(here: Path) -> None:
    rows = [row | {"votes": ["a"] * (5 + n % 5) + ["b"] * 5} for n, row in enumerate(preference_rows(0, 80))]
    write_rows(here / "pairs.jsonl", rows)
    write_rows(here / "heldout.jsonl", preference_rows(500, 20))
    order = "data.order={by: agreement, column: votes, stages: 2, replay: 20%}"
    told = bloomery("run", "recipe.yaml", "data.domain.0.path=pairs.jsonl", order, "name=split", within=here)
    assert told.status == 0, told.err
    easy, hard = told_of(here / "runs" / "split")["stages"]
    assert easy["hardest"] < hard["easiest"] and hard["hardest"] == 0.5
    assert values(here / "runs" / "split")["objective"] == "dpo"


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("data.order=easy", "`data.order: easy` is no order"),
        ("data.order={by: column}", "`data.order` by column names no column"),
        ("data.order={by: loss, column: level}", "`data.order.column` has no effect with `by: loss`"),
        (
            "data.order={by: agreement, column: level, hard: low}",
            "`data.order.hard` has no effect with `by: agreement`",
        ),
        ("data.order={by: column, column: level, replay: 5%}", "each stage replays at least 10%"),
        ("data.order={by: column, column: level, replay: 60%}", "later stages replay all of stage 1"),
        ("data.order={by: column, column: levels}", "has no column `levels` (did you mean `level`?)"),
        ("data.order={by: column, column: text}", "which is no number"),
        ("data.order={by: column, column: level, stages: 20}", "less than one of the run's 12 steps"),
    ],
)
def test_an_order_that_cannot_be_is_refused_by_explain_already(here: Path, order: str, says: str) -> None:
    levelled(here, documents("domain", 5, 120)[::-1])
    told = bloomery("explain", "recipe.yaml", order, within=here)
    assert told.status == 2
    assert says in " ".join((told.out + told.err).split()), told.out + told.err


def test_rows_of_one_difficulty_and_a_later_row_without_one_are_refused(here: Path) -> None:
    write_rows(here / "domain.jsonl", [row | {"level": 1} for row in documents("domain", 0, 120)])
    told = bloomery("run", "recipe.yaml", LEVELS, within=here)
    assert (told.status, "all documents are of one difficulty (1)" in told.err) == (2, True), told.err
    levelled(here, documents("domain", 0, 120))
    told = bloomery("run", "recipe.yaml", "data.order={by: agreement, column: level}", "name=no", within=here)
    assert (told.status, "domain.jsonl:2: 61 is no share of annotators" in told.err) == (2, True), told.err
    assert not (here / "runs" / "no").exists()
    write_rows(here / "pairs.jsonl", [row | ({"level": n} if n != 40 else {}) for n, row in enumerate(pairs(0, 90))])
    told = bloomery("run", "recipe.yaml", LEVELS, "data.domain.0.path=pairs.jsonl", within=here)
    assert (told.status, "pairs.jsonl:41: has no column `level`" in told.err) == (2, True), told.err
