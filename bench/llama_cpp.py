"""GGUF exports in llama.cpp itself: every layout on random weights, and a real model, logit by logit.

    pip install --target /tmp/llama --no-deps xllamacpp
    python bench/llama_cpp.py /tmp/llama [MODEL_FOLDER TEXT.jsonl]

Not a test: it needs llama.cpp's library, which comes from a third party.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch

from bloomery.core.rows import TokenRow
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Sampling
from bloomery.models.gguf import KINDS, About, export_gguf
from bloomery.models.load import load_model, load_tokenizer, new_model

TEXTS, SCORED, ANSWERED = 500, 20, 20
"""Texts whose tokens are compared, that are scored, and that are gone on with."""
EMBER = Path(__file__).parents[1] / "families/ember"
TINY = {
    "vocab_size": 4096, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "initializer_range": 0.15,
    "tie_word_embeddings": False, "eos_token_id": 0, "pad_token_id": 3, "bos_token_id": None,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 64,
        "beta_fast": 32, "beta_slow": 1, "attention_factor": 1.2079441541679836}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama, tied, Llama 3's scaling": {"model_type": "llama", "rope_parameters": LLAMA3, "tie_word_embeddings": True},
    "smollm3": {"model_type": "smollm3"},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 64},
    "olmo2": {"model_type": "olmo2"},
    "olmo2, tied": {"model_type": "olmo2", "tie_word_embeddings": True},
    "olmo3": {"model_type": "olmo3", "sliding_window": 32},
    "olmo3, yarn": {"model_type": "olmo3", "sliding_window": 32, "rope_parameters": {"full_attention": YARN}},
    "gpt_neox": {"model_type": "gpt_neox", "hidden_act": "gelu", "rotary_pct": 0.25},
    "gpt_neox, one after the other": {"model_type": "gpt_neox", "hidden_act": "gelu", "use_parallel_residual": False},
}


class LlamaCpp:
    """llama.cpp's own server in this process, on one file."""

    def __init__(self, path: Path) -> None:
        import xllamacpp

        asked = xllamacpp.CommonParams()
        asked.model.path, asked.n_ctx, asked.n_parallel, asked.verbosity = str(path), 512, 1, -1
        asked.cpuparams.n_threads = 1
        asked.cache_type_k = asked.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # the file's rounding alone
        self.server = xllamacpp.Server(asked)
        self.client = httpx2.Client(base_url=self.server.listening_address, timeout=60)

    def tokens(self, text: str) -> list[int]:
        """Ids of a text."""
        ids: list[int] = self.client.post("/tokenize", json={"content": text, "add_special": True}).json()["tokens"]
        return ids

    def next(self, ids: list[int], most: int) -> dict[int, float]:
        """Log-probabilities of the `most` most probable tokens after `ids`; none where the server stops at once."""
        body = {"prompt": ids, "n_predict": 1, "n_probs": most, "temperature": 0.0, "cache_prompt": True}
        told = self.client.post("/completion", json=body).json().get("completion_probabilities", [])
        return {one["id"]: one["logprob"] for position in told for one in position["top_logprobs"]}

    def greedy(self, ids: list[int], most: int) -> list[int]:
        """The most probable tokens in a row, `most` of them."""
        body = {"prompt": ids, "n_predict": most, "temperature": 0.0, "ignore_eos": True, "return_tokens": True}
        found: list[int] = self.client.post("/completion", json=body).json()["tokens"]
        return found


def main() -> None:
    """Print one line for each layout and kind, then the real model's perplexity and greedy answers."""
    sys.path.append(sys.argv[1])
    with tempfile.TemporaryDirectory() as place:
        for name, changes in MODELS.items():
            if len(sys.argv) == 5 and not name.startswith(sys.argv[4]):
                continue
            layout(name, {**TINY, **changes}, Path(place))
        if len(sys.argv) > 2:
            real(Path(sys.argv[2]), Path(sys.argv[3]), Path(place))


def layout(name: str, settings: dict[str, Any], place: Path) -> None:
    """A random model of one layout: the largest difference of a log-probability between transformers and llama.cpp."""
    folder = place / name.replace(" ", "-")
    loaded = new_model(settings, 0, check=False)
    torch.manual_seed(1)
    for parameter in loaded.model.parameters():
        if parameter.ndim == 1:  # norms and biases begin as ones and zeros, which hide a mistake
            parameter.data += 0.3 * torch.randn_like(parameter)
    loaded.tokenizer = load_tokenizer(EMBER / "tokenizer")
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    model = load_model(folder, check=False).model.eval()
    ids = torch.randint(4, 4096, (200,), generator=torch.Generator().manual_seed(2)).tolist()
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    for kind in KINDS:
        path = place / f"{folder.name}-{kind}.gguf"
        compared = export_gguf(folder, path, kind, About(name))
        llama, apart = LlamaCpp(path), []
        for n in range(4, len(ids), 20):
            found = llama.next(ids[:n], len(wanted[0]))
            if found:
                apart.append([abs(found[i] - wanted[n - 1][i].item()) for i in found])
        apart = torch.tensor(apart)
        print(f"{name:32} {kind:5} nats apart: mean {apart.mean():.5f} most {apart.max():.4f}", end=" ")
        print(f"(spread {wanted.std():.2f}; ours, by {compared.reader}: {compared.logprob_mean:.5f})", flush=True)


def real(folder: Path, rows: Path, place: Path) -> None:
    """Perplexity on texts of JSON lines, their tokens, and greedy answers, beside ours."""
    texts = [json.loads(line)["text"] for line in rows.read_text().splitlines()][:TEXTS]
    loaded = load_model(folder)
    engine = NativeEngine(loaded)
    width = int(loaded.config.vocab_size)
    for kind in KINDS:
        path = place / f"real-{kind}.gguf"
        export_gguf(folder, path, kind, About("real"))
        llama = LlamaCpp(path)
        same = sum(llama.tokens(text) == loaded.tokenizer(text)["input_ids"] for text in texts)
        sums, count, answers = [0.0, 0.0], 0, 0
        for text in texts[:SCORED]:
            ids = loaded.tokenizer(text)["input_ids"][:96]
            [ours] = engine.score([TokenRow(np.array(ids, np.int32), {}, "", "", "")])
            for n in range(1, len(ids)):
                if theirs := llama.next(ids[:n], width):
                    sums[0] -= float(ours[n])
                    sums[1] -= theirs[ids[n]]
                    count += 1
        for text in texts[:ANSWERED]:
            ids = loaded.tokenizer(text)["input_ids"][:32]
            [answer] = engine.generate([ids], Sampling(24, stop_ids=()))
            answers += list(answer.ids) == llama.greedy(ids, 24)
        before, after = (math.exp(s / count) for s in sums)
        print(f"{folder.name} {kind}: {same} of {len(texts)} texts have the same tokens in llama.cpp; perplexity on")
        print(f"  {count:,} tokens {before:.4f} here, {after:.4f} there ({after / before - 1:+.4%});", end=" ")
        print(f"{answers} of {ANSWERED} greedy answers of 24 tokens are the same")


if __name__ == "__main__":
    main()
