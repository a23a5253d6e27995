"""The rows and the model that both trainers get: DESIGN 6, made from a seed, no download.

An 8.5M-parameter Llama (256 wide, 8 layers, 8k vocabulary) and 2,000 instruction rows of about 175 tokens, log-normal,
cut at 512; the first two fifths of a row are the prompt, which carries no loss.
"""

from __future__ import annotations

import argparse
import os
import threading
import time

import numpy as np

MODEL = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def arguments() -> argparse.Namespace:
    """The command line of one side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--mean", type=int, default=175)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--skip", type=int, default=3, help="first steps that are not timed")
    parser.add_argument("--packed", action="store_true")
    return parser.parse_args()


def rows(options: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids int32[T], trained bool[T]) of each row."""
    random = np.random.default_rng(0)
    sigma = 0.0 if options.mean >= options.longest else 0.6
    lengths = np.exp(random.normal(np.log(options.mean) - sigma**2 / 2, sigma, options.rows))
    made = []
    for length in np.clip(lengths, 16, options.longest).astype(int):
        ids = random.zipf(1.3, length).astype(np.int64) % (options.vocabulary - 8) + 8
        trained = np.arange(length) >= (2 * length // 5)
        made.append((ids.astype(np.int32), trained))
    return made


class Peak:
    """Largest resident memory from `begin` on, above the level then; sampled every 5 ms. Bytes."""

    def __init__(self) -> None:
        self._top = self._base = self._now()
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def above(self) -> int:
        """Bytes above the level at the beginning."""
        self._stop.set()
        return max(self._top, self._now()) - self._base

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._top = max(self._top, self._now())
            time.sleep(0.005)

    @staticmethod
    def _now() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def matmul_peak() -> float:
    """bf16 FLOP/s of a 4096 x 4096 x 4096 product here and now: the best of five."""
    import torch

    a = torch.randn(4096, 4096).bfloat16()
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        best = max(best, 2 * 4096**3 / (time.perf_counter() - began))
    return best
