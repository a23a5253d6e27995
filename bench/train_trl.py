"""TRL's side of bench/train.py: SFTTrainer on the same rows; prints one line of JSON."""

from __future__ import annotations

import json
import tempfile
import time

from datasets import Dataset
from transformers import AutoModelForCausalLM, LlamaConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer
from workload import MODEL, Peak, arguments, matmul_peak, rows


class Marks(TrainerCallback):
    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.at.append(time.perf_counter())


def main() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    options = arguments()
    made = rows(options)
    inner = Tokenizer(WordLevel({"<unk>": 0, "<eos>": 1, "<pad>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    dataset = Dataset.from_list(
        [{"input_ids": ids.tolist(), "completion_mask": trained.astype(int).tolist()} for ids, trained in made]
    )
    peak = matmul_peak()
    memory, marks, seen = Peak(), Marks(), []
    model = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=options.vocabulary, **MODEL))

    class Counting(SFTTrainer):
        def training_step(self, model, inputs, *args, **kwargs):  # type: ignore[no-untyped-def]
            mask = inputs.get("attention_mask")
            real = int(mask.sum()) if mask is not None else int((inputs["input_ids"] != 2).sum())
            seen.append(real)
            return super().training_step(model, inputs, *args, **kwargs)

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch if not options.packed else max(1, options.batch * 175 // 512),
            bf16=True,
            use_cpu=True,
            packing=options.packed,
            max_length=options.longest,
            completion_only_loss=True,
            save_strategy="no",
            report_to=[],
            logging_steps=1000,
            disable_tqdm=True,
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": False},
            learning_rate=1e-4,
        )
        trainer = Counting(
            model=model, args=config, train_dataset=dataset, processing_class=tokenizer, callbacks=[marks]
        )
        trainer.train()
    first, last = options.skip, options.steps - 1
    seconds = marks.at[last] - marks.at[first]
    parameters = sum(p.numel() for p in model.parameters())
    rate = sum(seen[first:last]) / seconds
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
