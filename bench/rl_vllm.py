"""How far a vLLM server's log-probabilities are from those of the model in training, and what weighs their difference:

    BLOOMERY_VLLM="/path/bin/python -m vllm.entrypoints.openai.api_server" \\
    PYTHONPATH=tests/support python bench/rl_vllm.py --staleness 0 [--dtype bfloat16] [--lr 1e-2]

Trains a LoRA of ember for four steps on answers that a server of its own samples (docs/rl.md), in fp32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tiny import bloomery, documents, write_rows

from bloomery.train import policy

EMBER = Path(__file__).parents[1] / "families/ember/posttrained"
CAP = 2.0
RECIPE = """\
model: {model}
objective: rl
method: lora
lora: {{rank: 8}}
trusted: true
data:
  domain: [{{path: tasks.jsonl}}]
  curated: [{{path: general.jsonl}}]
  share: 60%
reward: {{type: regex, pattern: '[^~]*(ing|er)[^~]*'}}
rollouts:
  {{group: 4, tasks: 4, max_tokens: 32, temperature: 1.2, correct: {cap}, staleness: {staleness}, go: anyway,
   engine: vllm, server: {{arguments: [--dtype, {dtype}, --enforce-eager, --max-model-len, "512"]}}}}
schedule: {{kind: constant, lr: {lr}}}
budget: 4 steps
eval: {{suites: none}}
memory: {{device: cpu, precision: fp32}}
threads: 1
steps: [train]
"""
Told = list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


def watch(told: Told) -> None:
    """Have the loss keep, of each forward, what the trainer and what the sampler say of the trained tokens."""
    real = policy.surrogate

    def surrogate(logp: Any, old: Any, sampled: Any, advantage: Any, weight: Any, *more: Any) -> Any:
        there = weight != 0
        told.append((logp.detach()[there].double().numpy(), sampled[there].double().numpy()))
        return real(logp, old, sampled, advantage, weight, *more)

    policy.surrogate = surrogate


def main() -> None:
    """Train, and print a line for each forward."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--staleness", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--lr", default="1e-3")
    asked = parser.parse_args()
    told: Told = []
    watch(told)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ask = "Write a short note about form number {} for the manager."
        rows = [{"id": f"p{n}", "prompt": ask.format(n), "response": "It is here."} for n in range(80)]
        write_rows(place / "tasks.jsonl", rows)
        write_rows(place / "general.jsonl", documents("general", 0, 40))
        (place / "rl.yaml").write_text(RECIPE.format(model=EMBER, cap=CAP, **vars(asked)))
        done = bloomery("run", "rl.yaml", within=place)
    print(done.err if done.status else f"server in {asked.dtype}, staleness {asked.staleness}, lr {asked.lr}")
    for logp, sampled in told:
        apart, weight = np.abs(logp - sampled), np.exp(logp - sampled)
        print(
            f"{len(apart)} tokens: apart {apart.mean():.2e} in the mean, {apart.max():.2e} at most; weights up to "
            f"{weight.max():.3f}, {np.mean(weight > CAP):.1%} of them capped"
        )


if __name__ == "__main__":
    main()
