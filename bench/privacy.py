"""The privacy suites on a real run: what was repeated in training is found in the model, and not in its start.

    python bench/privacy.py [--epochs 30] [--start ember/posttrained]

Trains the start on made-up records and planted canaries, many times over (about 50,000 tokens, one thread), then
looks in both models for canaries by exposure and for records to the letter, beside canaries and records like them
that were never trained on. Exits with 1 where the trained model does not show them, or the start does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import bloomery
from bloomery.data.builtin import generate
from bloomery.evals.measures import measures
from bloomery.recipes.measuring import Asked, evaluate

CANARIES = 12
RECORDS = 16
PARTS = ("valve", "pump", "seal", "motor", "filter", "hinge", "gauge", "cable", "lever", "bearing", "switch", "pipe")
DONE = ("replaced", "checked", "cleaned", "tightened", "removed", "painted", "measured", "returned", "sealed", "moved")
ABOVE = ("exposure_above_control", "extracted_above_control")
FIGURES = ("exposure", "exposure_control", ABOVE[0], "extracted", "extracted_control", ABOVE[1], "tokens_in_a_row")
SUITE = "name: exposure\nrole: privacy\nkind: exposure\nbuiltin: canaries\n"
SUITE += f"options: {{count: {CANARIES}}}\n"


def record(draw: random.Random) -> str:
    """About 110 tokens that nobody can guess."""
    steps = [f"{draw.choice(PARTS)} {draw.randint(100, 999)} {draw.choice(DONE)}" for _ in range(12)]
    return f"Report {draw.randint(10000, 99999)}. " + ", ".join(steps) + "."


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--epochs", type=int, default=30)
    reader.add_argument("--start", default="ember/posttrained")
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        draw = random.Random(5)
        texts = [record(draw) for _ in range(2 * RECORDS)]
        trained = write_rows(Path("trained.jsonl"), [{"text": text} for text in texts[:RECORDS]])
        control = write_rows(Path("control.jsonl"), [{"text": text} for text in texts[RECORDS:]])
        planted = [{"text": row["text"]} for row in generate("canaries", {"count": CANARIES})]
        Path("exposure.yaml").write_text(SUITE)
        run = train(given.start, [trained, write_rows(Path("canaries.jsonl"), planted)], given.epochs)
        asked = Asked(suites=["exposure.yaml"], trained=trained, control=control)
        before, after = (shown(evaluate(name, asked)) for name in (given.start, run))
    return int(before or not after)


def train(start: str, files: list[Path], epochs: int) -> str:
    family, _, stage = start.partition("/")
    recipe = {
        "family": family,
        "start": stage,
        "data": {
            "domain": [{"path": str(path)} for path in files],
            "curated": "none",
            "holdout": 0,
            "repetition_cap": epochs + 1,
        },
        "optim": {"batch": "512 tokens"},
        "budget": f"{epochs} epochs",
        "steps": ["train", "export"],
        "threads": 1,
    }
    done = bloomery.run(recipe, {"name": "repeated"}, quiet=True)
    receipt = json.loads((done.folder / "data-receipt.json").read_text())
    print(f"trained {start} on {receipt['tokens']:,} tokens, every row {epochs} times")
    return str(done.folder)


def shown(measured: Any) -> bool:
    """Print the figures; whether the model shows its training rows above what their controls show."""
    found = {one.name: one for suite in measured.result.suites.values() for one in measures(suite)}
    print(f"\n{measured.result.model}")
    for name in FIGURES:
        one = found[name]
        print(f"  {name:26} {one.found.estimate:7.3f} ({one.found.low:.3f} to {one.found.high:.3f}) of {one.examples}")
    return all(found[name].found.low > 0 for name in ABOVE)


if __name__ == "__main__":
    raise SystemExit(main())
