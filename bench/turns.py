"""What keeping the past of a conversation is worth: seconds of a turn, with it and reading everything again, in turns.

    .venv/bin/python bench/turns.py [--rounds 3] [--talks 1 16] [--turns 8]

DESIGN 6 model (8.5M Llama, bf16), two threads; each turn brings 128 new tokens and is answered with 32.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from workload import MODEL

from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Sampling
from bloomery.models.load import load_model

NEW, ANSWER, VOCABULARY = 128, 32, 8192


def conversation(engine: NativeEngine, talks: int, turns: int) -> list[float]:
    """Seconds of each turn."""
    draw, seconds = np.random.default_rng(0), []
    so_far: list[list[int]] = [[] for _ in range(talks)]
    for turn in range(turns):
        asked = [[*past, *draw.integers(3, VOCABULARY, NEW).tolist()] for past in so_far]
        began = time.perf_counter()
        answers = engine.generate(asked, Sampling(ANSWER, temperature=1.0, seed=turn, stop_ids=()))
        seconds.append(time.perf_counter() - began)
        so_far = [[*past, *answer.ids] for past, answer in zip(asked, answers, strict=True)]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--talks", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **MODEL)).save_pretrained(folder)
        loaded = load_model(Path(folder), dtype=torch.bfloat16)
        for talks in given.talks:
            found: dict[bool, list[list[float]]] = {True: [], False: []}
            for _ in range(given.rounds):
                for keep in (True, False):
                    found[keep].append(conversation(NativeEngine(loaded, keep=keep), talks, given.turns))
            kept, read = (
                [statistics.median(times) for times in zip(*found[keep], strict=True)] for keep in (True, False)
            )
            first, last = (f"{kept[at]:.2f} and {read[at]:.2f} s" for at in (0, -1))
            print(
                f"{talks} at once: first turn {first}, last {last} ({read[-1] / kept[-1]:.2f} times),"
                f" all {sum(kept):.2f} and {sum(read):.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
