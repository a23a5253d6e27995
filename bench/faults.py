"""Faults tried, survived and lost: kill -9 at random moments, single flipped bits. Prints one line a kind.

    PYTHONPATH=tests/support:tests/faults .venv/bin/python bench/faults.py [--kills 50] [--flips 200]

A killed run must resume to weights bit-identical to the uninterrupted run's; a flipped bit, anywhere in a checkpoint
or a token store, must be refused.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import test_resume
from test_resume import run, same

from bloomery.core.errors import BloomeryError
from bloomery.data.config import SourceSpec
from bloomery.data.render import Renderer
from bloomery.data.store import TokenStore, build_store
from bloomery.train.checkpoint import Checkpoint

STEPS = 60


def kills(count: int, seed: int) -> tuple[int, int]:
    """(kills tried, runs that ended bit-identical or went on); every run is killed until `count` kills are spent."""
    moments, survived, tried = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as place:
        whole = run(Path(place) / "whole", steps=STEPS)
        while tried < count:
            folder = Path(place) / f"killed-{tried}"
            rounds = min(count - tried, 5)
            for _ in range(rounds):
                _killed(folder, moments.uniform(0.5, 6.0))
                tried += 1
            survived += rounds * same(whole, run(folder, steps=STEPS))
    return tried, survived


def _killed(folder: Path, after: float) -> None:
    command = [sys.executable, test_resume.__file__, str(folder), str(STEPS)]
    child = subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"})
    time.sleep(after)
    child.kill()
    child.wait()


def flips(count: int, seed: int) -> tuple[int, int]:
    """(bits flipped, flips refused), half of them in checkpoints and half in token stores."""
    chosen, refused = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as place:
        run(Path(place) / "run", steps=4)
        checkpoint = next((Path(place) / "run" / "checkpoints").glob("step-*"))
        store = _store(Path(place))
        for number in range(count):
            folder = (checkpoint, store)[number % 2]
            broken = Path(place) / "broken"
            shutil.copytree(folder, broken)
            files = sorted(p for p in broken.iterdir() if p.stat().st_size)
            sizes = [p.stat().st_size for p in files]
            path = chosen.choices(files, weights=sizes if number % 4 else None)[0]
            data = bytearray(path.read_bytes())
            data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
            path.write_bytes(bytes(data))
            refused += _refused(broken, number)
            shutil.rmtree(broken)
    return count, refused


def _store(place: Path) -> Path:
    rows = place / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {i} " * 20}) + "\n" for i in range(300)))
    renderer = Renderer(Path(__file__).parents[1] / "families" / "ember" / "tokenizer")
    return build_store("rows", SourceSpec(path=str(rows)), place, renderer, place / "cache", workers=1).path


def _refused(folder: Path, number: int) -> bool:
    try:
        Checkpoint(folder) if number % 2 == 0 else TokenStore(folder)
    except BloomeryError:
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tried, survived = kills(options.kills, options.seed)
    print(f"kill -9 during training: {tried} tried, {survived} resumed to bit-identical weights")
    tried, refused = flips(options.flips, options.seed)
    print(f"single flipped bits: {tried} tried, {refused} refused")


if __name__ == "__main__":
    main()
