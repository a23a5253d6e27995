"""The folder that both sides of bench/rl.py read: a model, its tokenizer, prompts and a reward; `{"prompt": words}`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from workload import MODEL

VOCABULARY = 8192
PROMPTS = 400
REWARD = """\
def reward(prompts, completions, **kwargs):
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [sum(int(word[1:]) % 2 for word in text.split() if word[1:].isdigit()) / 64 for text in texts]
"""


def main() -> None:
    folder, length = Path(sys.argv[1]), int(sys.argv[2])
    words = {"<unk>": 0, "<eos>": 1, "<pad>": 2} | {f"w{index}": index for index in range(3, VOCABULARY)}
    inner = Tokenizer(WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, eos_token_id=1, pad_token_id=2, bos_token_id=None, **MODEL)
    )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    random = np.random.default_rng(0)
    with (folder / "prompts.jsonl").open("w") as file:
        for index in range(PROMPTS):
            prompt = " ".join(f"w{word}" for word in random.integers(3, VOCABULARY, length))
            file.write(json.dumps({"id": str(index), "prompt": prompt, "response": "w3"}) + "\n")
    (folder / "reward.py").write_text(REWARD)
    print("{}")


if __name__ == "__main__":
    main()
