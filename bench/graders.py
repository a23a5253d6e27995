"""Ten kinds of endpoint fault, a thousand calls each; then what judges nothing: the cost of a sandbox.

    PYTHONPATH=tests/support python bench/graders.py

Prints one row for each fault: calls, right scores, unscorable ones, wrong scores used (must be 0), seconds.
"""

from __future__ import annotations

import sys
import time

from reward_server import FAULTS, reward_server, truth

from bloomery.core.errors import InputError
from bloomery.core.sandbox_level import Limits
from bloomery.core.sandbox_program import run_program
from bloomery.graders.load import Given, load_grader
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Sample

CALLS = 1000


def main() -> int:
    wrong = 0
    print(f"{'fault':14} {'calls':>6} {'right':>6} {'unscorable':>10} {'wrong':>6} {'seconds':>8}")
    for kind, fault in FAULTS.items():
        began = time.monotonic()
        with reward_server(fault, seed=len(kind)) as url:
            spec = {"type": "endpoint", "url": url, "seconds": 0.4, "tries": 2, "batch": 1, "failures": 10**6}
            grader = load_grader(
                spec | {"private": True, "range": [0, 1]}, given=Given(clock=Clock(sleep=lambda seconds: None))
            )
            answers = [Sample(f"{kind}-{at}", [{"role": "assistant", "content": "x"}]) for at in range(CALLS)]
            scores = grader.grade(answers)
        used = [score for score in scores if score.aggregate_reward_score is not None]
        right = sum(score.aggregate_reward_score == truth(score.id) for score in used)
        wrong += len(used) - right
        counts = f"{len(scores):6} {right:6} {len(scores) - len(used):10} {len(used) - right:6}"
        print(f"{kind:14} {counts} {time.monotonic() - began:8.1f}", flush=True)
    for level in ("process", "isolated"):
        try:
            print(f"an empty program at {level}: {_cost(level) * 1000:.0f} ms")
        except InputError as error:
            print(error)
    return wrong


def _cost(level: str, runs: int = 20) -> float:
    began = time.monotonic()
    for _ in range(runs):
        run_program({"main.py": ""}, "main.py", "", Limits(), level)  # type: ignore[arg-type]
    return (time.monotonic() - began) / runs


if __name__ == "__main__":
    sys.exit(main() != 0)
