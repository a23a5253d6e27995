"""TRL's side of bench/rl.py: GRPOTrainer; prints one line of JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from workload import Peak

SKIP = 2


class Marks(TrainerCallback):
    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.at.append(time.perf_counter())


def main() -> None:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    found = importlib.util.spec_from_file_location("reward", folder / "reward.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
    memory, marks = Peak(), Marks()
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        max_steps=steps,
        per_device_train_batch_size=64,
        num_generations=8,
        max_completion_length=64,
        beta=0.0,
        scale_rewards="none",
        bf16=True,
        use_cpu=True,
        gradient_checkpointing=False,
        learning_rate=1e-6,
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model"),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        reward_funcs=module.reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in rows]),
        callbacks=[marks],
    )
    trainer.train()
    seconds = marks.at[-1] - marks.at[SKIP - 1]
    lengths = [one["completions/mean_length"] for one in trainer.state.log_history if "completions/mean_length" in one]
    print(
        json.dumps(
            {
                "samples_per_second": 64 * (steps - SKIP) / seconds,
                "memory": memory.above(),
                "length": sum(lengths) / len(lengths),
            }
        )
    )


if __name__ == "__main__":
    main()
