"""A short run takes a part of the family's mix; a recipe that names the mix, and a long run, take it whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.resources import families_dir
from bloomery.families.registry import load_family
from bloomery.recipes.checks import tokens_by_source
from bloomery.recipes.load import load_recipe
from bloomery.recipes.plan import Plan
from bloomery.recipes.resolve import resolve
from bloomery.recipes.trim import LEAST, SPARE

MIX = "midtrained"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": f"row {n} " * 40}) + "\n" for n in range(300)))


def plan(budget: str, curated: str = "auto", domain: str = "text.jsonl") -> Plan:
    text = f"family: ember\nstart: midtrained-warm\ndata: {{domain: {domain}, share: 50%, curated: {curated}}}\n"
    Path("recipe.yaml").write_text(f"{text}budget: {budget}\narms: [curated-only]\n")
    return resolve(load_recipe("recipe.yaml"))


def options(found: Plan) -> dict[str, Any]:
    return {s.name: s.spec.get("options", {}) for s in found.sources if s.role == "curated"}


def whole(mix: str) -> dict[str, Any]:
    return {source.name: source.options for source in load_family("ember").mix(mix)}


def test_a_short_run_generates_little_more_than_it_takes() -> None:
    found = plan("16k tokens")
    taken = tokens_by_source(found, "curated-only")
    for source in found.sources:
        if source.role == "curated":
            assert source.tokens is not None
            assert taken[source.name] <= source.tokens <= 2 * max(SPARE * taken[source.name], LEAST)
    assert options(found) != whole(MIX)
    assert found.origin("curated.part") == "derived"


def test_runs_of_about_one_size_share_their_stores() -> None:
    assert options(plan("750k tokens")) == options(plan("950k tokens"))


def test_a_smaller_cut_is_part_of_a_larger_one() -> None:
    short, long = options(plan("16k tokens")), options(plan("2M tokens"))
    for name, own in short.items():
        others = {key: value for key, value in own.items() if key not in ("count", "fraction")}
        assert others.items() <= long[name].items()
        assert own.get("count", 0) <= long[name].get("count", 0)
        assert own.get("fraction", 0) <= long[name].get("fraction", 0)


@pytest.mark.parametrize(
    ("budget", "curated", "domain"),
    [
        ("20M tokens", "auto", "text.jsonl"),
        ("16k tokens", MIX, "text.jsonl"),
        ("2 epochs", "auto", "{hf: owner/unknown}"),
    ],
)
def test_a_long_run_a_named_mix_and_data_of_unknown_size_leave_the_mix_whole(
    budget: str, curated: str, domain: str
) -> None:
    found = plan(budget, curated, domain)
    assert options(found) == whole(MIX)
    assert "curated.part" not in found.values


@pytest.mark.parametrize("path", sorted((families_dir() / "ember" / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_embers_own_recipes_take_their_mixes_whole(path: Path) -> None:
    loaded = load_recipe(path)
    assert loaded.recipe.data.curated.mix.startswith("making-")
    assert options(resolve(loaded)) == whole(loaded.recipe.data.curated.mix)
