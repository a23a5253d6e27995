"""Searches with micro-runs of a tiny model: a table, a plot and a recipe come out, and what cannot work is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import bloomery, documents, write_rows

from bloomery.recipes.load import load_recipe

TOY = """\
family: toy
start: hot
data:
  domain: [{path: domain.jsonl}]
  repetition_cap: 20
budget: 6k tokens
optim: {batch: 128 tokens}
keep: {general: 90%}
eval: heldout.jsonl
memory: {device: cpu}
threads: 1
"""
SHORT = ("--tokens", "5200")


@pytest.fixture
def toy(here: Path) -> Path:
    (here / "toy.yaml").write_text(TOY)
    return here


def test_shares_are_compared_at_equal_domain_and_equal_total_tokens(toy: Path) -> None:
    told = bloomery("tune", "toy.yaml", "--shares", "100,50", "--tokens", "2600", "--json", within=toy)
    assert told.status == 0, told.err
    found = json.loads(told.out)
    assert [(run["share"], run["compared at"]) for run in found["runs"][1:]] == [
        ("100%", "equal domain tokens"),
        ("50%", "equal domain tokens"),
        ("100%", "equal total tokens"),
        ("50%", "equal total tokens"),
    ]
    tokens = [int(run["tokens"].replace(",", "")) for run in found["runs"]]
    assert abs(tokens[2] - 2 * tokens[1]) < 300 and tokens[3] == tokens[1]
    assert len(found["points"]) == 3  # 100 % is one run, whatever it is compared at
    page = (toy / "runs" / "toy.shares" / "report.html").read_text()
    assert page.count("<svg") == 2 and "equal domain tokens, 50%" in page and "style=" not in page
    again = bloomery("tune", "toy.yaml", "--shares", "100,50", "--tokens", "2600", within=toy)
    assert again.err.count("read back") == 3
    assert again.out == (toy / "runs" / "toy.shares" / "table.txt").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_ends_in_a_recipe_or_says_why_not(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model learns in leaps that no law of small changes follows; with open gates the search goes on."""
    two_categories(toy)
    wild = bloomery("tune", "toy.yaml", "--runs", "6", *SHORT, "--json", within=toy)
    found = json.loads(wild.out)
    assert (wild.status, found["recipe"], found["share"]) == (4, None, None), wild.err
    assert max(found["leave_one_out"].values()) > 0.01 and "nothing is recommended" in found["said"][0]
    assert "toy.tune" not in bloomery("runs", within=toy).out
    monkeypatch.setattr("bloomery.studies.law.GATE", 100.0)
    monkeypatch.setattr("bloomery.studies.categories.GATE", -1e9)
    told = bloomery("tune", "toy.yaml", "--runs", "6", *SHORT, "--categories", "--json", within=toy)
    assert told.status == 0, told.err
    found = json.loads(told.out)
    assert told.err.count("read back") == 6 and len(found["runs"]) == 6 + 2 * 3 + 1
    tuned = load_recipe(toy / "runs" / "toy.tune" / "tuned.yaml").recipe
    assert tuned.data.share == found["share"] and tuned.data.curated.categories == pytest.approx(found["weights"])
    assert sum("checked by one more run" in line for line in found["said"]) == 1
    assert bloomery("explain", "runs/toy.tune/tuned.yaml", within=toy).status == 0
    page = (toy / "runs" / "toy.tune" / "report.html").read_text()
    assert page.count("<svg") == 2 and f"{found['share']:.0%}</text>" in page


def two_categories(toy: Path) -> None:
    """Give the family `toy` a second part of its curated text."""
    family = toy / "families" / "toy.yaml"
    write_rows(toy / "more.jsonl", documents("general", 3000, 120))
    one = "{name: general, path: ../general.jsonl, share: 100%, licence: CC0-1.0}"
    assert one in family.read_text()
    two = [one.replace("100%", "70%"), "{name: more, path: ../more.jsonl, share: 30%, licence: CC0-1.0}"]
    family.write_text(family.read_text().replace(one, ", ".join(two)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("toy.yaml", "--tokens", "2k"), r"a micro-run of 1,000 tokens has 8 steps of 128, fewer than 20"),
        (("toy.yaml", "--runs", "3", *SHORT), "`--runs 3` is too few"),
        (("toy.yaml", "keep=null", *SHORT), "the recipe does not say it"),
        (("toy.yaml", "data.curated=none", *SHORT), "no curated data to blend with"),
        (("toy.yaml", "eval.suites=none", "keep=null", "--shares", "100,50"), "no general text to measure"),
        (("toy.yaml", "data.domain=[]", *SHORT), "no domain data to blend"),
        (("toy.yaml", "eval.domain=null", "data.holdout=0%", *SHORT), "no domain rows are held out"),
        (("toy.yaml", "--shares", "100"), "compares nothing"),
        (("toy.yaml", "--shares", "0,50"), "nothing of a domain is learnt from 0 % of it"),
        (("toy.yaml", "--shares", "0.5,0.9"), "may be a part of the whole or of a per cent"),
        (("toy.yaml", "optim.batch=64 tokens", *SHORT), "is less than a row may have (128)"),
        (("toy.yaml", "--shares", "100,all"), "`--shares: all%` is not a share"),
        (("toy.yaml", "--categories", *SHORT), "there are none to weigh"),
        (("toy.yaml", "phases=[{name: one, length: 100%, share: 30%}]", *SHORT), "the phase `one` sets a blend"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(
    toy: Path, arguments: tuple[str, ...], says: str
) -> None:
    told = bloomery("tune", *arguments, within=toy)
    assert told.status == 2 and says in told.err, told.err
    assert not (toy / "runs").exists()
