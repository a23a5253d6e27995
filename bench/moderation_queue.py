"""How many labels the queue spares when a policy is new, on real comments: most valuable first, against random.

    PYTHONPATH=src:bench python bench/moderation_queue.py DATA SCRATCH [--order value] [--seed 0]

DATA holds `davidson_train.jsonl.xz` (MIT), SCRATCH is that of `bench/moderation.py`, which must have run: each round
continues from its model `one`. The new policy is what a moderator of flagged comments looks for: `harmless`, the 17 %
of them that are neither hateful nor offensive. An oracle answers with the set's own label. Each call runs one loop of
`bloomery review loop`; when both orders of a seed are there, the figures go to `bench/moderation/queue.json`: at the
best F1 that random labels reach, how many labels each order needed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moderation import RESULTS, read, write

from bloomery.core.files import read_json, write_json
from bloomery.review.measures import labels_until
from bloomery.studies.active import run_loop
from bloomery.studies.active_file import read_loop

POLICY, POOL, TEST, ROUNDS, LABELS = "harmless", 1500, 1500, 4, 150
ORDERS = ("value", "random")
CLASSIFIER = f'questions: {{{POLICY}: "{POLICY}?"}}\nprior: none\n'
RECIPE = """\
start: {start}
objective: sft
data: {{repetition_cap: 8}}
schedule: {{lr: 1.0e-3}}
optim: {{batch: 512 tokens}}
budget: 4 epochs
threads: 1
"""
LOOP = """\
name: {name}
recipe: queue-recipe.yaml
classifier: queue-classifier.yaml
pool: queue-pool.jsonl
test: queue-test.jsonl
rounds: {rounds}
labels: {labels}
oracle: true
order: {order}
seed: {seed}
caught: {{{policy}: 0.5}}
precision: 0.5
"""


def prepared(data: Path, scratch: Path) -> None:
    """The loop's recipe, classifier, pool and test rows: the first texts of the set, each text once."""
    every = {row["text"]: row for row in read(data / "davidson_train.jsonl.xz")}
    rows = [
        {"id": row["id"], "text": text, "labels": {POLICY: row["label"] == "neither"}} for text, row in every.items()
    ]
    write(scratch / "queue-pool.jsonl", rows[:POOL])
    write(scratch / "queue-test.jsonl", rows[POOL : POOL + TEST])
    (scratch / "queue-classifier.yaml").write_text(CLASSIFIER)
    (scratch / "queue-recipe.yaml").write_text(RECIPE.format(start=scratch / "runs" / "one"))


def looped(scratch: Path, order: str, seed: int) -> dict[str, Any]:
    """One loop, run or gone on with."""
    name = f"queue-{order}-{seed}"
    path = scratch / f"{name}.yaml"
    path.write_text(
        LOOP.format(name=name, order=order, seed=seed, rounds=ROUNDS, labels=LABELS, policy=POLICY), "utf-8"
    )
    found = run_loop(read_loop(path), say=print)
    print(found)
    return found.to_json()


def spared(runs: dict[str, dict[str, Any]], figure: str) -> dict[str, Any]:
    """At the best `figure` of random labels: the labels of each order until it is reached, and kept from then on."""
    target = max(one[figure] for one in runs["random"]["rounds"])
    needed = {order: _until(runs[order]["rounds"], figure, target) for order in ORDERS}
    return {"target": target, "labels": needed}


def _until(rounds: Sequence[dict[str, Any]], figure: str, target: float) -> int | None:
    best, reached = 0.0, []
    for one in rounds:
        best = max(best, one[figure])
        reached.append(best)
    return labels_until([one["labels"] for one in rounds], reached, target)


def main() -> None:
    """One loop, then the figures of what is there."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("scratch", type=Path)
    options.add_argument("--order", choices=ORDERS, default="value")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    scratch = given.scratch.resolve()
    prepared(given.data, scratch)
    os.chdir(scratch)
    write_json(scratch / f"queue-{given.order}-{given.seed}.json", looped(scratch, given.order, given.seed))
    files = {order: scratch / f"queue-{order}-{given.seed}.json" for order in ORDERS}
    if all(path.is_file() for path in files.values()):
        runs = {order: read_json(path) for order, path in files.items()}
        found = {figure: spared(runs, figure) for figure in ("f1", "auroc")}
        kept = read_json(RESULTS / "queue.json") if (RESULTS / "queue.json").is_file() else {}
        write_json(RESULTS / "queue.json", kept | {f"seed {given.seed}": {"spared": found, "loops": runs}})
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
