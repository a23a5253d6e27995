"""Our training step beside TRL's SFTTrainer, in turns, each run in a fresh process; prints ratios.

    .venv/bin/python bench/train.py --peer PYTHON [--rounds 3]

PYTHON is an interpreter of an environment with `trl` in it, so that the peer's dependencies stay out of ours:
`make bench` makes one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SHAPES = {
    "padded": [],
    "packed": ["--packed"],
    "128k vocabulary": ["--vocabulary", "131072", "--steps", "6", "--skip", "2", "--batch", "8"],
    "2,048-token documents": ["--mean", "2048", "--longest", "2048", "--batch", "4", "--steps", "6", "--skip", "2"],
}


def one(python: str, script: str, arguments: list[str]) -> dict[str, float]:
    """Run one side in a fresh process and read its line."""
    path = f"{HERE}:{HERE.parent / 'src'}"
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": path}
    done = subprocess.run(
        [python, str(HERE / script), *arguments], env=environment, capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    for shape in options.shapes:
        ours, theirs = [], []
        for _ in range(options.rounds):
            theirs.append(one(options.peer, "train_trl.py", SHAPES[shape]))
            ours.append(one(sys.executable, "train_ours.py", [a for a in SHAPES[shape] if a != "--packed"]))
        speed = [o["tokens_per_second"] / t["tokens_per_second"] for o, t in zip(ours, theirs, strict=True)]
        memory = [o["memory"] / t["memory"] for o, t in zip(ours, theirs, strict=True)]
        best = statistics.median(o["of_peak"] for o in ours)
        print(
            f"{shape}: ours {statistics.median(o['tokens_per_second'] for o in ours):,.0f} tok/s,"
            f" TRL {statistics.median(t['tokens_per_second'] for t in theirs):,.0f};"
            f" ratio {statistics.median(speed):.2f} (from {min(speed):.2f} to {max(speed):.2f}),"
            f" memory {statistics.median(memory):.0%}, {best:.0%} of the bf16 peak",
            flush=True,
        )


if __name__ == "__main__":
    main()
