"""What the studies ask, as recipes: one entry a run of the product, its arms and seeds included.

An arm of a recipe is a training of its own, so `trainings` counts what the limit of sixty is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from domains import NAMES, domain, moderation

ARMS = ["domain-only", "curated-only"]
VOLUMES = {"25k": 25_000, "75k": 75_000, "225k": 225_000}
STAGES = ("pretrained", "midtrained-warm", "posttrained")
WATCHED = 30_000
"""Held-out tokens of each kind that the studies of continuity read every ten steps."""
OWN = {"pretrained": 700_000, "midtrained-warm": 150_000}
"""Tokens that a checkpoint continues on its own data: from the hot one so many that its moments are filled whole."""
NAIVE = {"kind": "cosine", "lr": 1e-5, "warmup": "10%", "final": 1e-6}
"""The usual choice where nothing is known of a checkpoint: Nova Forge's sample recipe holds 1e-5 and ends at 1e-6."""
BUDGETS = {
    "budget-medicine": ("medicine", "pretrained", 0.08, 1),
    "budget-reddit": ("reddit", "pretrained", 0.06, 1),
    "budget-workflow": ("workflow", "pretrained", 0.05, 3),
}
"""Domain, start, domain share and seeds of each forgetting budget."""
HELD = {"reddit": 0.25, "workflow": 0.25}
"""Domains whose budget is held from the warm checkpoint, with the share that the controller begins with."""
SEARCHED = {"medicine": "pretrained", "reddit": "midtrained-warm"}
"""Domains whose share is searched for by micro-runs, and from which start."""
TWICE = {("workflow", "75k", start): f"continue-{start}" for start in ("pretrained", "midtrained-warm")}
"""Cells whose run is also one of continuity."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One run, search or piece of advice of the product; `group` is the question it belongs to."""

    name: str
    group: str
    recipe: Mapping[str, Any]
    by: Literal["run", "advise", "tune"] = "run"

    @property
    def trainings(self) -> int:
        """Trainings in it: arms times seeds. Searches and advice train micro-runs and forks, counted apart."""
        return 0 if self.by != "run" else (1 + len(self.recipe.get("arms", []))) * self.recipe.get("seeds", 1)


def experiments(data: Path, work: Path) -> list[Experiment]:
    """Every experiment, in the order they are run."""
    places = {name: domain(name, data, work) for name in NAMES}

    def recipe(name: str, start: str, share: float, tokens: int, **more: Any) -> dict[str, Any]:
        return {
            "family": "ember",
            "start": start,
            "objective": "text",
            "data": {"domain": places[name]["train"], "share": share},
            "eval": {"domain": places[name]["eval"], "suites": ["documentation"]},
            "budget": f"{tokens} tokens",
            "threads": 1,
        } | more

    found = [
        Experiment(
            called,
            "forgetting budget",
            recipe(name, start, share, 700_000, arms=ARMS, seeds=seeds, keep={"general": 0.005}),
        )
        for called, (name, start, share, seeds) in BUDGETS.items()
    ]
    often = {"every": "10 steps", "watch": f"{WATCHED} tokens"}
    for start, tokens in OWN.items():
        own = recipe("workflow", start, 0.0, tokens) | {"data": {"curated": "auto"}}
        found.append(Experiment(f"own-{start}", "continuity", own | {"eval": {"suites": ["documentation"]} | often}))
    for start in ("pretrained", "midtrained-warm", "midtrained"):
        plain = recipe("workflow", start, 0.5, 150_000)
        plain["eval"] = plain["eval"] | often
        found.append(Experiment(f"continue-{start}", "continuity", plain))
        found.append(Experiment(f"naive-{start}", "continuity", plain | {"schedule": NAIVE}))
    for name in NAMES:
        for volume, start in product(VOLUMES, STAGES):
            if (name, volume, start) not in TWICE:
                cell = recipe(name, start, 0.5, 2 * VOLUMES[volume])
                found.append(Experiment(f"stage-{name}-{volume}-{start}", "advice", cell))
        found += [
            Experiment(f"advice-{name}-{volume}", "advice", recipe(name, "auto", 0.5, 2 * tokens), "advise")
            for volume, tokens in VOLUMES.items()
        ]
    alone = {name: {"domain": places[name]["train"], "share": 1.0, "curated": "none"} for name in NAMES}
    found += [
        Experiment(
            f"alone-{name}", "replay pays", recipe(name, "midtrained-warm", 1.0, VOLUMES["75k"], data=alone[name])
        )
        for name in NAMES
    ]
    found += [
        Experiment(f"law-{name}", "law", recipe(name, start, 0.3, 700_000, keep={"general": 0.005}), "tune")
        for name, start in SEARCHED.items()
    ]
    for name, share in HELD.items():
        held = recipe(name, "midtrained-warm", share, 700_000, keep={"general": 0.005, "hold": True})
        found.append(Experiment(f"hold-{name}", "controller", held))
    return [*found, *_orders(moderation(data, work))]


def _orders(places: Mapping[str, Any]) -> list[Experiment]:
    """Comments from those that annotators agree on to those they do not, beside the usual shuffle."""
    orders = {"shuffle": {"by": "shuffle"}, "curriculum": {"by": "agreement", "column": "toxic"}}
    return [
        Experiment(
            f"order-{called}",
            "curriculum",
            {
                "family": "ember",
                "start": "posttrained",
                "objective": "sft",
                "data": {"domain": places["train"], "share": 0.8, "order": order},
                "eval": {"domain": places["eval"], "grader": {"type": "exact"}, "suites": ["documentation"]},
                "budget": "600000 tokens",
                "seeds": 3,
                "threads": 1,
            },
        )
        for called, order in orders.items()
    ]
