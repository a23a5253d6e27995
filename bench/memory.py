"""What `explain` says a training step takes, beside the peak that was measured, at three shapes.

    .venv/bin/python bench/memory.py [--shapes small wide vocabulary] [--steps 8]

Each shape trains in a fresh process on one thread, on documents of log-normal lengths; the peak is resident memory
above the level right after importing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
LLAMA = {"model_type": "llama", "max_position_embeddings": 2048}
SHAPES = {
    "small": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "vocab_size": 4096,
        "tie_word_embeddings": True,
        "documents": {"mean": 175, "longest": 512, "micro_tokens": 4096},
    },
    "wide": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 16384,
        "tie_word_embeddings": True,
        "documents": {"mean": 1024, "longest": 1024, "micro_tokens": 4096},
    },
    "vocabulary": {
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 131072,
        "tie_word_embeddings": False,
        "documents": {"mean": 175, "longest": 512, "micro_tokens": 2048},
    },
}


def measure(name: str, steps: int, micro_tokens: int | None) -> dict[str, object]:
    """Train `steps` steps of two micro-batches here; bytes at the peak and those predicted, by what takes them."""
    import numpy as np
    import transformers.models.llama.modeling_llama  # noqa: F401 - imported before the level is taken
    from workload import Peak, rows

    from bloomery.core.rows import TokenRow
    from bloomery.models.load import new_model
    from bloomery.recipes.memory import shape_of, training_bytes
    from bloomery.train.config import Schedule, TrainConfig
    from bloomery.train.job import StepRows, TrainJob
    from bloomery.train.loop import train
    from bloomery.train.parallel import join_world
    from bloomery.train.precision import native_bf16

    config = {**LLAMA, **SHAPES[name]}
    documents = config.pop("documents")
    micro, world = micro_tokens or documents["micro_tokens"], join_world("cpu")
    options = argparse.Namespace(
        mean=documents["mean"], longest=documents["longest"], rows=2000, vocabulary=config["vocab_size"]
    )
    made = [
        TokenRow(ids, {"ce": (np.arange(len(ids)) > 0).astype(np.float32)}, str(i), "rows", str(i))
        for i, (ids, _) in enumerate(rows(options))
    ]

    class Source:
        def steps(self, first: int, last: int) -> Iterator[StepRows]:
            waiting = iter(made)
            for step in range(first, last):
                chosen = [next(waiting)]
                while sum(map(len, chosen)) < 2 * micro - documents["longest"]:
                    chosen.append(next(waiting))
                yield StepRows(step, chosen, 0.0, {})

        def restore(self, state: dict[str, object]) -> None:
            raise AssertionError

    memory = Peak()
    loaded = new_model(config, 0, check=False)
    training = TrainConfig(Schedule("constant", 1e-4, steps), micro_tokens=micro, checkpoint_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        train(TrainJob(loaded, training, Source(), Path(folder), world, quiet=True))
    measured = memory.above()
    shape = shape_of(config)
    assert shape is not None
    lengths = np.array([len(row) for row in made])
    typical = int((lengths**2).sum() / lengths.sum())
    need = training_bytes(shape, micro, bf16=native_bf16(world.device), document_tokens=typical)
    parts = {part: getattr(need, part) for part in need.__dataclass_fields__}
    return {"measured": measured, "predicted": need.total, "parts": parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--micro-tokens", type=int)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.here, options.steps, options.micro_tokens)))
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    for name in options.shapes:
        command = [sys.executable, __file__, "--here", name, "--steps", str(options.steps)]
        command += ["--micro-tokens", str(options.micro_tokens)] if options.micro_tokens else []
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
        parts = ", ".join(f"{part} {count / 1e6:,.0f}" for part, count in found["parts"].items())
        print(
            f"{name}: predicted {found['predicted'] / 1e6:,.0f} MB ({parts}), measured"
            f" {found['measured'] / 1e6:,.0f} MB, ratio {found['predicted'] / found['measured']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
