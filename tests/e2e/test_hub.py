"""A start that a recipe names on the Hub is fetched at its revision, checked and recorded; then it is a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Hub, serving
from tiny import RECIPE, Told, bloomery

from bloomery.core.errors import InputError
from bloomery.core.events import read_events
from bloomery.models.hub import cached, fetch

OLD, NEW, TOKEN = "a" * 40, "b" * 40, "hf_a-token-that-is-not-told"
FAMILY = """\
name: far
title: Far
licence: MIT
architecture: LlamaForCausalLM
parameters: 150k
context: 128
tokenizer: hub
checkpoints:
  base: {repo: org/far, revision: stage1, tokens: 1M, schedule: {kind: constant, peak: 2e-3}, batch_tokens: 256}
  gone: {repo: org/far, revision: stage9, tokens: 1M}
  closed: {repo: org/closed, revision: main, tokens: 1M}
"""
HEAD = RECIPE.removeprefix("model: tiny\n").replace("  curated: [{path: general.jsonl}]\n  share: 50%\n", "")


@pytest.fixture
def hub(here: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one open and one gated model, and pickles, code and copies in it; an empty cache; family `far`."""
    far = Path(shutil.copytree(model, tmp_path / "far"))
    (far / "pytorch_model.bin").write_bytes(b"a pickle")
    (far / "modeling_far.py").write_text("print('run')")
    (far / "original").mkdir()
    (far / "original" / "model.safetensors").write_bytes(b"the same again")
    (here / "families" / "far.yaml").write_text(FAMILY)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    commits = {("org/far", "main"): NEW, ("org/far", "stage1"): OLD, ("org/closed", "main"): NEW}
    commits |= {("org/far", commit): commit for commit in (OLD, NEW)}
    with serving(Hub({"org/far": far, "org/closed": far}, commits, {"org/closed": TOKEN})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def explained(folder: Path, text: str) -> tuple[dict[str, Any], str]:
    """The plan's values, and what is printed."""
    (folder / "recipe.yaml").write_text(text)
    told = bloomery("explain", "recipe.yaml", within=folder)
    assert told.status == 0, told.out + told.err
    values = json.loads(bloomery("explain", "recipe.yaml", "--json", within=folder).out)["plan"]["values"]
    return {key: value["value"] for key, value in values.items()}, told.out


def test_explain_says_what_would_be_fetched_and_fetches_nothing(here: Path, hub: Hub) -> None:
    values, said = explained(here, f"family: far\nstart: base\n{HEAD}")
    assert "org/far at stage1 from the Hub when the run starts" in " ".join(said.split())
    assert (values["start.folder"], values["start.commit"], values["start.parameters"]) == (None, None, 150_000)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("head", "revision", "commit"),
    [
        ("family: far\nstart: base\n", "stage1", OLD),
        ("model: org/far\nrevision: stage1\n", "stage1", OLD),
        ("model: org/far\n", None, NEW),
    ],
)
def test_a_run_fetches_its_start_and_records_what_it_was(
    here: Path, hub: Hub, head: str, revision: str | None, commit: str
) -> None:
    (here / "recipe.yaml").write_text(f"{head}name: near\nsteps: [train]\n{HEAD}")
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 0, told.err
    assert f"fetching org/far at {revision or 'main'} from the Hub" in told.err
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(hub.asked)
    assert not [name for name in hub.asked if name.endswith((".bin", ".py")) or "/" in name]
    (event, *_) = read_events(here / "runs" / "near" / "events.jsonl", "provenance")
    assert [event["start"][key] for key in ("repo", "revision", "commit")] == ["org/far", revision, commit]
    plan = json.loads((here / "runs" / "near" / "plan.json").read_text())["values"]
    assert plan["start.commit"]["value"] == commit and plan["start.folder"]["value"].endswith(commit)
    fetched = len(hub.asked)
    _, said = explained(here, f"{head}{HEAD}")
    assert "from the Hub" not in said
    assert len(hub.asked) == fetched


def test_a_model_that_a_run_made_is_a_start_once_it_is_published(
    here: Path, hub: Hub, finished: tuple[Path, Told]
) -> None:
    """Its manifest lists every file it has, the card among them, and each is checked before training."""
    hub.models["org/far"] = finished[0] / "runs" / "whole" / "model"
    (here / "recipe.yaml").write_text(f"model: org/far\nname: near\nsteps: [train]\n{HEAD}")
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 0, told.err
    assert {"manifest.json", "README.md"} <= set(hub.asked)


def test_a_run_goes_on_at_the_same_commit_where_the_cache_was_emptied(here: Path, hub: Hub, tmp_path: Path) -> None:
    (here / "recipe.yaml").write_text(f"model: org/far\nname: near\nsteps: [train]\n{HEAD}")
    assert bloomery("run", "recipe.yaml", within=here).status == 0
    shutil.rmtree(tmp_path / "hub-cache")
    hub.commits["org/far", "main"] = OLD
    told = bloomery("resume", "near", within=here)
    assert told.status == 0, told.err
    assert cached("org/far", NEW) is not None and cached("org/far", "main") is None


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("family: far\nstart: gone\n", "`org/far` has no revision `stage9`"),
        ("family: far\nstart: closed\n", "the Hub keeps `org/closed` for accounts that accepted its licence"),
        ("model: org/nothing\n", "the Hub has no model `org/nothing`, or it is private"),
    ],
)
def test_what_the_hub_does_not_give_is_told_before_anything_is_written(
    here: Path, hub: Hub, head: str, says: str
) -> None:
    (here / "recipe.yaml").write_text(head + HEAD)
    told = bloomery("run", "recipe.yaml", within=here)
    assert (told.status, says in told.err) == (2, True), told.err
    assert not (here / "runs").exists()


def test_a_gated_model_opens_to_the_usual_token_which_is_not_told(
    here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (fetch("org/closed", None) / "model.safetensors").is_file()


def test_a_gated_start_opens_to_the_token_that_the_recipe_names_and_nothing_holds_it(
    here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"family: far\nstart: closed\nname: near\nsteps: [train]\n{HEAD}token: {{env: OUR_HUB_TOKEN}}\n"
    (here / "recipe.yaml").write_text(text)
    told = bloomery("run", "recipe.yaml", within=here)
    assert (told.status, "OUR_HUB_TOKEN is not set" in told.err) == (2, True), told.err
    monkeypatch.setenv("OUR_HUB_TOKEN", "hf_of-somebody-else")
    told = bloomery("run", "recipe.yaml", within=here)
    said = " ".join(told.err.split())
    assert told.status == 2 and "for accounts that accepted its licence" in said
    assert f"{hub.address}/org/closed" in said and "token: {env: OUR_HUB_TOKEN}" in said
    monkeypatch.setenv("OUR_HUB_TOKEN", TOKEN)
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 0, told.err
    files = [path.read_bytes() for path in (here / "runs" / "near").rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in one for one in files) and TOKEN not in told.out + told.err
    assert any(b"OUR_HUB_TOKEN" in one for one in files)


@pytest.mark.parametrize("written", [TOKEN, "{value: x}", "{env: 'not a name'}"])
def test_a_token_that_is_not_the_name_of_a_variable_is_refused_unrepeated(here: Path, hub: Hub, written: str) -> None:
    (here / "recipe.yaml").write_text(f"family: far\nstart: closed\n{HEAD}token: {written}\n")
    told = bloomery("run", "recipe.yaml", within=here)
    assert told.status == 2 and "{env: " in told.err
    assert TOKEN not in told.out + told.err


def test_without_a_network_what_is_cached_is_used_and_what_is_not_is_told(
    here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch("org/far", "stage1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cached("org/far", "stage1") == folder
    with pytest.raises(InputError, match="is not in the Hub's cache, and the network is forbidden") as caught:
        fetch("org/far", "main")
    assert str(caught.value.fix).endswith("hf download org/far --revision main")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be fetched from the Hub"):
        fetch("org/far", "main")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("family: far\nstart: gone\n", 2, "hf download org/far --revision stage9"),
        ("model: org/far\n", 1, "hf download org/far"),
    ],
)
def test_explain_refuses_a_start_that_is_not_here_where_the_network_is_forbidden(
    here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, text: str, line: int, says: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (here / "recipe.yaml").write_text(text + HEAD)
    told = bloomery("explain", "recipe.yaml", within=here)
    said = " ".join((told.out + told.err).split())
    assert told.status == 2, said
    assert "`org/far` is not in the Hub's cache, and the network is forbidden" in said and says in said
    assert f"recipe.yaml:{line}" in said


def test_explain_refuses_a_token_whose_variable_is_not_set_until_nothing_needs_it(here: Path, hub: Hub) -> None:
    (here / "recipe.yaml").write_text(f"model: org/far\ntoken: {{env: NOT_SET_HERE}}\n{HEAD}")
    told = bloomery("explain", "recipe.yaml", within=here)
    said = " ".join((told.out + told.err).split())
    assert told.status == 2 and "NOT_SET_HERE is not set" in said and "recipe.yaml:2" in said
    fetch("org/far", None)
    assert bloomery("explain", "recipe.yaml", within=here).status == 0


def test_a_model_with_code_in_its_configuration_is_refused_once_it_is_here(here: Path, hub: Hub) -> None:
    config = hub.models["org/far"] / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "modeling_far.Far"}}))
    (here / "recipe.yaml").write_text("model: org/far\n" + HEAD)
    told = bloomery("run", "recipe.yaml", within=here)
    assert (told.status, "`auto_map` asks for code" in told.err) == (2, True), told.err


def test_a_repository_of_pickles_is_refused(here: Path, hub: Hub) -> None:
    (hub.models["org/far"] / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no model in safetensors"):
        fetch("org/far", "main")
