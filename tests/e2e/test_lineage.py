"""Methods follow each other freely along a lineage, each from the published weights, at a rate of its own kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import bloomery, documents, pairs, preference_rows, write_rows

PEAK = 2e-3
"""Of the family `toy`, whose stage is hot."""

COMMON = """\
optim: {batch: 256 tokens}
eval: {domain: heldout.jsonl, suites: none}
memory: {device: cpu, precision: fp32}
threads: 1
"""
CHAIN: list[tuple[str, str, dict[str, Any], float]] = [
    ("low", "text.jsonl", {"method": "lora", "lora.rank": 4}, PEAK),  # hot: goes on at its own rate
    ("all", "text.jsonl", {}, 0.3 * PEAK),  # the first one decayed: cold, re-warmed
    ("low-sft", "pairs.jsonl", {"method": "lora", "lora.rank": 4, "lora.rslora": True}, 10 * 0.1 * PEAK),
    ("more", "text.jsonl", {"objective": "text"}, 0.3 * PEAK),
    ("sft", "pairs.jsonl", {}, 0.1 * PEAK),
    ("dpo", "better.jsonl", {}, 0.05 * 0.1 * PEAK),
    ("low-again", "pairs.jsonl", {"method": "lora", "lora.rank": 4, "lora.plus": 4}, 10 * 0.1 * PEAK),
]
"""Name, domain, keys that differ, and the learning rate that suits: by its kind, whatever came before."""


@pytest.fixture
def place(here: Path) -> Path:
    write_rows(here / "text.jsonl", documents("domain", 0, 60))
    write_rows(here / "pairs.jsonl", pairs(0, 60))
    write_rows(here / "better.jsonl", preference_rows(0, 40))
    return here


def keys(domain: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"data.domain": [{"path": domain}], "budget": "1k tokens", **more}


def nats(run: Path, model: str, suite: str = "heldout") -> list[float]:
    """What a model was found to lose on each held-out row."""
    rows = map(json.loads, (run / "eval" / model / "records.jsonl").read_text().splitlines())
    return [row["nats"] for row in rows if row["suite"] == suite]


def plan(run: Path) -> dict[str, Any]:
    return {key: told["value"] for key, told in json.loads((run / "plan.json").read_text())["values"].items()}


def talks(folder: Path) -> tuple[str, Any]:
    """How a published model talks: its chat template and the tokens that end its answers."""
    template = json.loads((folder / "tokenizer_config.json").read_text()).get("chat_template")
    file = folder / "chat_template.jinja"
    stops = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    return (file.read_text() if file.is_file() else template), stops


def test_every_run_goes_on_from_the_one_before_whatever_its_method(place: Path) -> None:
    before = "hot"
    for name, domain, more, rate in CHAIN:
        start = f"family: toy\nstart: {before}\n" if before == "hot" else f"start: {before}\n"
        (place / "next.yaml").write_text(start + COMMON)
        changes = [f"{key}={json.dumps(value)}" for key, value in keys(domain, more).items()]
        told = bloomery("run", "next.yaml", f"name={name}", *changes, within=place)
        assert told.status == 0, (name, told.err)
        run = place / "runs" / name
        values = plan(run)
        assert values["schedule.lr"] == pytest.approx(rate), name
        if before != "hot":
            earlier = place / "runs" / before
            assert nats(run, "start") == nats(earlier, "blend-seed0"), name
            assert values["start.folder"] == str((earlier / "model").resolve())
            assert talks(run / "model") == talks(earlier / "model")
        before = name
    (last,) = (m for m in json.loads(bloomery("models", "--json", within=place).out) if m["name"] == "low-again")
    assert last["ancestry"] == [*(name for name, *_ in reversed(CHAIN[:-1])), "toy/hot"]
    assert bloomery("ask", "low-again", "Which form is number 3?", within=place).status == 0


def test_the_same_lineage_is_one_pipeline(place: Path) -> None:
    steps = [{"do": "train", "name": name, "set": keys(domain, more)} for name, domain, more, _ in CHAIN[2:]]
    recipe = {"family": "toy", "start": "hot", "steps": [*steps, "evaluate"]}
    (place / "line.yaml").write_text(_yaml(recipe))
    told = bloomery("run", "line.yaml", "name=line", within=place)
    assert told.status == 0, told.err
    line = place / "runs" / "line"
    runs = [*sorted((line / "steps").iterdir(), key=lambda path: path.name), line]
    assert [run.name.split("-", 1)[1] for run in runs[:-1]] == [name for name, *_ in CHAIN[2:-1]]
    for run, earlier, (_, _, more, rate) in zip(runs[1:], runs, CHAIN[3:], strict=False):
        values = plan(run)
        assert values["start.folder"] == str((earlier / "model").resolve())
        assert (values["method"], values["schedule.lr"]) == (more.get("method", "full"), pytest.approx(rate))
        assert talks(run / "model") == talks(earlier / "model")


def _yaml(recipe: dict[str, Any]) -> str:
    """JSON is YAML; the keys that all trainings share follow."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in recipe.items()) + COMMON
