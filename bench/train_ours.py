"""Our side of bench/train.py: the training step on the workload; prints one line of JSON."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from workload import MODEL, Peak, arguments, matmul_peak, rows

from bloomery.core.rows import TokenRow
from bloomery.models.load import new_model
from bloomery.train.config import Schedule, TrainConfig
from bloomery.train.job import StepRows, TrainJob
from bloomery.train.loop import train
from bloomery.train.parallel import join_world


def main() -> None:
    options = arguments()
    made = [
        TokenRow(ids, {"ce": (trained & (np.arange(len(ids)) > 0)).astype(np.float32)}, str(i), "rows", str(i))
        for i, (ids, trained) in enumerate(rows(options))
    ]
    peak = matmul_peak()
    memory, marks = Peak(), []

    class Source:
        def steps(self, first: int, last: int) -> Iterator[StepRows]:
            for step in range(first, last):
                marks.append(time.perf_counter())
                begin = step * options.batch % len(made)
                yield StepRows(step, made[begin : begin + options.batch], 0.0, {})
            marks.append(time.perf_counter())

        def restore(self, state: dict) -> None:
            raise AssertionError

    loaded = new_model({"model_type": "llama", "vocab_size": options.vocabulary, **MODEL}, 0)
    schedule = Schedule("constant", 1e-4, options.steps)
    config = TrainConfig(schedule, micro_tokens=4096, checkpoint_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob(loaded, config, Source(), Path(folder), join_world("cpu"), quiet=True)
        train(job)
    timed = range(options.skip, options.steps)
    tokens = sum(len(r) for s in timed for r in made[s * options.batch % len(made) :][: options.batch])
    seconds = marks[options.steps - 1] - marks[options.skip] if options.skip < options.steps - 1 else 1.0
    tokens -= sum(len(r) for r in made[(options.steps - 1) * options.batch % len(made) :][: options.batch])
    parameters = sum(p.numel() for p in loaded.model.parameters())
    rate = tokens / seconds
    print(
        json.dumps(
            {
                "tokens_per_second": rate,
                "memory": memory.above(),
                "parameters": parameters,
                "of_peak": 6 * parameters * rate / peak,
                "peak": peak,
            }
        )
    )


if __name__ == "__main__":
    main()
