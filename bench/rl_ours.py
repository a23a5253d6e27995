"""Our side of bench/rl.py: a recipe through `bloomery.api.run`; prints one line of JSON."""

from __future__ import annotations

import json
import statistics
import sys
import uuid
from pathlib import Path

import torch
import transformers  # noqa: F401  the peer's memory is counted after the imports too
from workload import Peak

from bloomery import api

SKIP = 2
RECIPE = """\
model: model
objective: rl
data: {{domain: [{{path: prompts.jsonl}}], curated: [], share: 100%}}
reward: {{type: python, path: reward.py, function: reward, signature: trl, trusted: true}}
trusted: true
rollouts: {{group: 8, tasks: 8, max_tokens: 64}}
schedule: {{kind: constant, lr: 1e-6}}
budget: {steps} steps
eval: {{suites: none, every: 1000 steps}}
memory: {{device: cpu}}
steps: [train]
arms: []
checkpoints: {{every: 1000 steps}}
"""


def main() -> None:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    name = f"run{uuid.uuid4().hex[:8]}"
    recipe = folder / f"{name}.yaml"
    recipe.write_text(RECIPE.format(steps=steps))
    torch.set_num_threads(2)
    memory = Peak()
    api.run(recipe, quiet=True)
    events = [json.loads(line) for line in (folder / "runs" / name / "events.jsonl").read_text().splitlines()]
    ends = [event["time"] for event in events if event["event"] == "step"]
    rolled = [event for event in events if event["event"] == "rollouts"][SKIP:]
    seconds, samples = ends[-1] - ends[SKIP - 1], sum(event["rollouts"] for event in rolled)
    print(
        json.dumps(
            {
                "samples_per_second": samples / seconds,
                "memory": memory.above(),
                "length": statistics.mean(event["length"] for event in rolled),
                "sampling": statistics.mean(event["sampling_s"] for event in rolled),
                "grading": statistics.mean(event["grading_s"] for event in rolled),
                "step": seconds / len(rolled),
            }
        )
    )


if __name__ == "__main__":
    main()
