"""Pairs of answers, from recipe to report: what is chosen becomes likelier on rows never seen."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tiny import bloomery, preference_rows, write_rows

from bloomery.core.events import read_events
from bloomery.core.resources import families_dir

THINGS = "lamp kettle desk ladder garden radio window bicycle oven drawer candle carpet blanket bottle mirror".split()
DEEDS = "clean repair move store paint choose measure sell".split()
PLACES = ("at home", "in the office", "on a boat", "in winter", "by hand", "before noon", "with a friend")
STEPS = ("look at it closely", "ask somebody who knows", "take your time", "begin with the smallest part")


def invented(count: int) -> list[dict[str, Any]]:
    """Questions with a curt answer, chosen, and a helpful one, which ember prefers before; no question twice."""
    questions = [(d, t, p) for d in DEEDS for t in THINGS for p in PLACES]
    random.Random(1).shuffle(questions)
    rows = []
    for number, (deed, thing, place) in enumerate(questions[:count]):
        one, two = random.Random(number).sample(STEPS, 2)
        curt = random.Random(number).choice([f"Just {deed} it.", f"You know how, with a {thing}."])
        helpful = f"To {deed} the {thing} {place}, first {one}, then {two}."
        asked = f"How do I {deed} a {thing} {place}?"
        rows.append({"id": f"r{number}", "prompt": asked, "chosen": curt, "rejected": helpful})
    return rows


@pytest.mark.slow
@pytest.mark.skipif(not (families_dir() / "ember" / "posttrained").is_dir(), reason="ember has no weights yet")
def test_ember_learns_invented_preferences_beside_its_replay(tmp_path: Path) -> None:
    rows = invented(460)
    write_rows(tmp_path / "pairs.jsonl", rows[60:])
    write_rows(tmp_path / "heldout.jsonl", rows[:60])
    (tmp_path / "recipe.yaml").write_text(
        "family: ember\ndata: {domain: pairs.jsonl, share: 80%}\nbudget: 60k tokens\n"
        "eval: {domain: heldout.jsonl, suites: none}\nmemory: {device: cpu}\nthreads: 1\n"
    )
    told = bloomery("run", "recipe.yaml", "name=kind", within=tmp_path)
    assert told.status == 0, told.err
    run = tmp_path / "runs" / "kind"
    plan = json.loads((run / "plan.json").read_text())["values"]
    assert (plan["objective"]["value"], plan["start.ref"]["value"]) == ("dpo", "ember/posttrained")
    ranked = {}
    for model in ("start", "blend-seed0"):
        suites = json.loads((run / "eval" / model / "evaluation.json").read_text())["suites"]
        ranked[model] = next(suite for suite in suites if suite["name"] == "heldout")["value"]
    assert ranked["blend-seed0"] > max(0.9, ranked["start"] + 0.2)
    watched = [e for e in read_events(run / "events.jsonl", "validate") if e["held_out"] == "heldout"]
    assert watched[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and watched[-1]["loss"] < 0.3
    receipt = json.loads((run / "data-receipt.json").read_text())["sources"]["pairs"]
    assert receipt["cut"]["pairs"] == 400 and receipt["taken"]["share"] == pytest.approx(0.8, abs=0.02)


def test_adapters_learn_preferences_and_are_merged(here: Path) -> None:
    write_rows(here / "pairs.jsonl", preference_rows(0, 80))
    write_rows(here / "heldout.jsonl", preference_rows(500, 20))
    changes = ("data.domain.0.path=pairs.jsonl", "method=lora", "lora.rank=4", "schedule.lr=0.02", "name=low")
    told = bloomery("run", "recipe.yaml", *changes, within=here)
    assert told.status == 0, told.err
    run = here / "runs" / "low"
    assert (run / "adapter" / "adapter_config.json").is_file() and (run / "model").is_dir()
    assert (run / "reference" / "manifest.json").is_file()
    first, *_, last = read_events(run / "events.jsonl", "validate")
    assert first["reward_margin"] == pytest.approx(0, abs=1e-5) and last["reward_margin"] > 0.05
    (held,) = json.loads((run / "report.json").read_text())["rewards"]
    assert held["accuracy"]["estimate"] == pytest.approx(last["reward_accuracy"], abs=0.051)  # weights are bf16 by then
    # the report scores an answer's text, training its end token too
    assert held["margin"]["estimate"] == pytest.approx(last["reward_margin"], rel=0.5)
    assert "Reward accuracy" in (run / "report.md").read_text() and "Rewards" in (run / "report.html").read_text()
    scored = bloomery("eval", "low", "--data", "heldout.jsonl", within=here)
    assert scored.status == 0 and "heldout" in scored.out and "of 20" in scored.out, scored.err


def test_held_out_judged_answers_are_in_the_report(here: Path) -> None:
    rows = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in preference_rows(0, 60) for side in ("chosen", "rejected")
    ]  # fmt: skip
    write_rows(here / "judged.jsonl", rows[:80])
    write_rows(here / "heldout.jsonl", rows[80:])
    changes = ("data.domain.0.path=judged.jsonl", "name=judged")
    told = bloomery("run", "recipe.yaml", *changes, within=here)
    assert told.status == 0, told.err
    report = json.loads((here / "runs" / "judged" / "report.json").read_text())
    (held,) = report["rewards"]
    assert (held["kind"], held["examples"]) == ("judged", 40)
    *_, last = read_events(here / "runs" / "judged" / "events.jsonl", "validate")
    assert held["margin"]["estimate"] == pytest.approx(last["reward_margin"], rel=0.5)
    assert report["groups"]["domain"]["kind"] == "judged"
    log = (here / "runs" / "judged" / "eval" / "heldout.jsonl").read_text().splitlines()
    assert {tuple(sorted(set(json.loads(line)) & {"chosen", "rejected", "messages"})) for line in log} == {
        ("chosen",), ("rejected",),
    }  # fmt: skip
