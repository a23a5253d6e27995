"""The verb `merge`: a run and its start become one model, which is listed, asked and continued from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import bloomery


def test_a_merged_model_is_listed_with_its_parents_and_continued_from(after: Path) -> None:
    made = bloomery("merge", "tiny", "whole", "runs/both", "--by", "linear", "--strength", "0.5", within=after)
    assert (made.status, made.out) == (0, "wrote runs/both\n"), made.err
    assert "tiny + whole" in bloomery("models", within=after).out
    card = (after / "runs" / "both" / "README.md").read_text()
    assert "base_model_relation: merge" in card and "only known where it was measured" in card
    again = bloomery("run", "recipe.yaml", "model=runs/both", "name=next", within=after)
    assert again.status == 0, again.err
    known = {model["name"]: model["ancestry"] for model in json.loads(bloomery("models", "--json", within=after).out)}
    assert known["next"] == ["runs/both", "tiny", "whole"] and known["both"] == ["tiny", "whole"]


def test_a_merge_that_takes_the_place_of_a_stage_is_a_start_of_the_family(after: Path) -> None:
    made = bloomery("merge", "toy/hot", "whole", "runs/both", "--by", "graft", "--base", "tiny", within=after)
    assert made.status == 0, made.err
    (after / "next.yaml").write_text(
        "start: both\ndata: {domain: domain.jsonl}\neval: heldout.jsonl\nbudget: 1k tokens\nthreads: 1\n"
    )
    told = bloomery("explain", "next.yaml", "--all", within=after)
    assert told.status == 0 and " curated " in told.out, told.err  # the family's, as for the stage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tiny", "whole", "out"), "which way to merge is not said"),
        (("tiny", "out"), "is no run with an adapter"),
        (("tiny", "whole", "out", "--by", "lineer"), "did you mean `linear`"),
        (("tiny", "wole", "out", "--by", "linear"), "`wole` is no run"),
        (("tiny", "whole", "tiny", "--by", "linear"), "exists already"),
        (("ember/scaffold", "whole", "out", "--by", "linear"), "it has no weights to merge"),
        (("ember/posttrained", "whole", "out", "--by", "linear"), "config.json: `head_dim` is"),
    ],
)
def test_a_merge_that_cannot_be_is_refused(after: Path, arguments: tuple[str, ...], says: str) -> None:
    refused = bloomery("merge", *arguments, within=after)
    assert refused.status == 2 and says in refused.err, refused.err
    assert not (after / "out").exists()
