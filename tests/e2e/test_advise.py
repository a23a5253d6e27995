"""`bloomery advise` on ember: from rows to a recipe that runs, by rule and by forks of the stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import bloomery

import bloomery as package
from bloomery.core.resources import families_dir
from bloomery.studies import advise_distance

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (families_dir() / "ember" / "pretrained" / "model.safetensors").is_file(),
        reason="ember has no weights here",
    ),
]


@pytest.fixture
def handbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some 12,000 tokens of invented rules."""
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(advise_distance, "SAMPLE", 3_000)
    file = tmp_path / "handbook.jsonl"
    text = "Rule {0}: order {0} ships on day {1} when clerk {2} signs form {3} and payment {0} has cleared."
    lines = [json.dumps({"text": text.format(n, n % 7, n % 31, 3 * n)}) for n in range(400)]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_forks_of_every_stage_are_measured_once_and_choose_one(handbook: Path) -> None:
    words = ("advise", handbook.name, "--keep", "none", "--measure", "--json")
    told = bloomery(*words, within=handbook.parent)
    assert told.status == 0, told.err
    found = json.loads(told.out)
    forks = found["measured"]["forecasts"]
    assert {one["stage"] for one in forks} == {"pretrained", "midtrained-warm", "midtrained", "posttrained"}
    assert all(one["domain"]["low"] <= one["domain"]["estimate"] <= one["domain"]["high"] for one in forks)
    assert found["measured"]["spent"] > 0 and found["start"]["value"] == found["measured"]["chosen"]["stage"]
    assert found["distance"] == "far" and found["counted"]

    again = bloomery(*words[:-1], "--out", "recipe.yaml", within=handbook.parent)
    assert again.status == 0, again.err
    assert f"{found['measured']['spent']:,} token passes" in again.out
    explained = bloomery("explain", "recipe.yaml", "--json", within=handbook.parent)
    assert explained.status == 0, explained.out
    assert json.loads(explained.out)["plan"]["values"]["start.ref"]["value"] == f"ember/{found['start']['value']}"


def test_the_python_function_is_the_verb(handbook: Path) -> None:
    advice = package.advise(handbook, keep=0.01)
    assert advice.recipe is not None and str(handbook) in advice.recipe
    assert bloomery("advise", str(handbook), within=handbook.parent).out.startswith("kind ")
    assert bloomery("advise", "nothing.jsonl", within=handbook.parent).status == 2
