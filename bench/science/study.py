"""Runs what is left of the studies, one after another, and writes the figures of each to `results/`.

    python bench/science/study.py --data ../shared/data --work /tmp/science [--only budget] [--list]

A run that was interrupted goes on where it stopped; one with a file in `results/` is not run again. Figures only: no
row of the data is written there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from experiments import STAGES, Experiment, experiments

from bloomery.core.events import read_events
from bloomery.core.files import read_json, write_json
from bloomery.evals.results import load_result
from bloomery.families.registry import load_family
from bloomery.families.rules import choose_start
from bloomery.recipes.load import recipe_from
from bloomery.recipes.run import resume, run
from bloomery.recipes.start import from_family
from bloomery.studies.advise_distance import distances, far_or_near
from bloomery.studies.advise_look import look_at
from bloomery.studies.advise_measure import measure
from bloomery.studies.advise_recipe import Choice
from bloomery.studies.tune import tune

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run, or list, what the command line asks for."""
    options = _options()
    chosen = [e for e in experiments(options.data, options.work) if not options.only or e.name.startswith(options.only)]
    for one in chosen:
        done = _result(one).exists()
        if options.list:
            print(f"{'done' if done else 'open':5} {one.trainings} {one.name}")
        elif not done:
            print(f"{time.strftime('%H:%M:%S')} {one.name}", flush=True)
            write_json(_result(one), RUNNERS[one.by](one, options.work / "runs" / one.name))
    print(f"{sum(one.trainings for one in chosen)} trainings in all")


def _run(one: Experiment, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    if (folder / "recipe.yaml").exists():
        ended = resume(str(folder), quiet=True)
    else:
        ended = run(recipe_from({"name": one.name, **one.recipe}), folder=folder, quiet=True)
    if ended.status in ("interrupted", "failed"):
        raise SystemExit(f"{one.name}: {ended.said}")
    plan = read_json(folder / "plan.json")["values"]
    arms = [{k: arm[k] for k in ("name", "tokens", "steps", "share")} for arm in plan["arms"]["value"]]
    return {
        "group": one.group,
        "start": one.recipe["start"],
        "share": arms[0]["share"],
        "realised": _realised(folder, plan),
        "lr": plan["schedule.lr"]["value"],
        "arms": arms,
        "tokens": sum(arm["tokens"] for arm in arms) * len(plan["seeds"]["value"]),
        "losses": {place.name: losses(place) for place in sorted((folder / "eval").iterdir()) if place.is_dir()},
        "curve": _curve(folder),
        "seconds": round(time.monotonic() - began),
    }


def _realised(folder: Path, plan: dict[str, Any]) -> float:
    """The domain's part of the tokens that the run really took."""
    domain = {source["name"] for source in plan["sources"]["value"] if source["role"] == "domain"}
    taken = {name: one["taken"]["tokens"] for name, one in read_json(folder / "data-receipt.json")["sources"].items()}
    return sum(count for name, count in taken.items() if name in domain) / sum(taken.values())


def _advised(one: Experiment, folder: Path) -> dict[str, Any]:
    """What the rule says of the cell's data, and what forks of its stages within 5 % of its tokens choose."""
    family, began = load_family("ember"), time.monotonic()
    loaded = recipe_from({"name": one.name, **one.recipe, "start": STAGES[0]})
    sources = one.recipe["data"]["domain"]
    words = [source.get("path") or f"builtin:{source['builtin']}" for source in sources]
    start = from_family(family, STAGES[0])
    distance = far_or_near(distances(family, look_at(words, start.tokenizer, start.chat_template), download=False))
    domain = one.recipe["data"]["share"] * float(one.recipe["budget"].split()[0])
    rule, why = choose_start(family, "text", domain, distance)
    usual = rule if rule in STAGES else STAGES[1]
    found = measure(loaded, STAGES, Choice("ember", (usual, why), ("full", ""), (0.5, ""), (1, ""), None), None, print)
    told = {"group": one.group, "distance": distance, "rule": rule, "tokens": found.spent}
    return told | {"seconds": round(time.monotonic() - began), **found.to_json()}


def _searched(one: Experiment, folder: Path) -> dict[str, Any]:
    """What twelve micro-runs of 40,000 tokens find for the full run's share."""
    began = time.monotonic()
    found = tune(recipe_from({"name": one.name, **one.recipe}), 12, 40_000, print, root=folder.parent)
    keys = ("share", "leave_one_out", "tokens", "cost", "said", "points")
    told = {key: found.figures[key] for key in keys}
    return {"group": one.group, **told, "seconds": round(time.monotonic() - began)}


RUNNERS = {"run": _run, "advise": _advised, "tune": _searched}


def losses(place: Path) -> dict[str, Any]:
    """One evaluated model by group: bits per byte of texts, mean score of answers, and the documents they are over."""
    found: dict[str, Any] = {}
    for suite in load_result(place).suites.values():
        unit = "bits" if suite.kind == "bpb" else "score"
        told = {"suite": suite.name, unit: suite.value, "documents": len(suite.records)}
        found.setdefault(suite.group, []).append(told)
    return found


def _curve(folder: Path) -> list[dict[str, Any]]:
    keys = ("step", "held_out", "loss")
    return [{key: event[key] for key in keys} for event in read_events(folder / "events.jsonl", "validate")]


def _result(one: Experiment) -> Path:
    return RESULTS / f"{one.name}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/bloomery-science"))
    parser.add_argument("--only", default="", help="names that begin with this")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
