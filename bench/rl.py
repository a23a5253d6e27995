"""Our training by rewards beside TRL's GRPOTrainer, in turns, each run in a fresh process; prints ratios.

    .venv/bin/python bench/rl.py --peer .venv-peer/bin/python [--rounds 3] [--shapes short long]

Both get the same folder of a model (DESIGN 6: 8.5M Llama), the same prompts, 64 samples a step in groups of 8, answers
of 64 new tokens, the same reward in Python, no curated rows, bf16 autocast, two threads. Our side is `bloomery run`
whole: blend, sampling, grader in its process, journal of rollouts, training step. A step's time is from the end of the
one before it to its own end, so that everything counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SHAPES = {"short": 64, "long": 512}
"""Words of a prompt."""


def one(python: str, script: str, folder: Path, steps: int) -> dict[str, float]:
    """Run one side in a fresh process and read its line."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "2",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(HERE),
    }
    done = subprocess.run(
        [python, str(HERE / script), str(folder), str(steps)],
        env=environment, capture_output=True, text=True, timeout=1800, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def median(found: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="the first two are not timed")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    for shape in options.shapes:
        ours, theirs = [], []
        with tempfile.TemporaryDirectory() as folder:
            one(sys.executable, "rl_model.py", Path(folder), SHAPES[shape])
            for _ in range(options.rounds):
                theirs.append(one(str(Path(options.peer).absolute()), "rl_trl.py", Path(folder), options.steps))
                ours.append(one(sys.executable, "rl_ours.py", Path(folder), options.steps))
        speed = [o["samples_per_second"] / t["samples_per_second"] for o, t in zip(ours, theirs, strict=True)]
        memory = [o["memory"] / t["memory"] for o, t in zip(ours, theirs, strict=True)]
        print(
            f"{shape}: ours {median(ours, 'samples_per_second'):.1f} samples/s,"
            f" TRL {median(theirs, 'samples_per_second'):.1f};"
            f" ratio {statistics.median(speed):.2f} (from {min(speed):.2f} to {max(speed):.2f});"
            f" memory {median(ours, 'memory') / 2**20:,.0f} and {median(theirs, 'memory') / 2**20:,.0f} MiB,"
            f" {statistics.median(memory):.0%};"
            f" ours a step: sampling {median(ours, 'sampling'):.2f} s, grading {median(ours, 'grading'):.2f} s,"
            f" of {median(ours, 'step'):.2f} s;"
            f" new tokens {median(ours, 'length'):.1f} and {median(theirs, 'length'):.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
