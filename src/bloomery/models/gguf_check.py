"""A GGUF file read back: its tokens, every tensor, and its logits and perplexity beside the model's."""

from __future__ import annotations

import contextlib
import gc
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bloomery.core.errors import DamagedError, Where
from bloomery.models.gguf_layout import Array, Layout, from_file, places
from bloomery.models.gguf_words import CONTROL, PROBES, USER_DEFINED, Words, build
from bloomery.models.slices import opened, tensor_files

LOGPROB = {"f16": 0.01, "q8_0": 0.15}
"""Largest mean difference of a token's log-probability, in nats. Ours: ember is 0.00001 and 0.028 apart,
random weights 0.003 and 0.09; a wrong rotation or a swapped tensor gives 0.5 and more."""
PERPLEXITY = {"f16": 0.002, "q8_0": 0.02}
"""Largest relative difference of perplexity. Ours: on 1,665 tokens of documentation ember moves by
0.004 % and 0.04 % in llama.cpp; the short texts here move more."""
WEIGHT = {"f16": 2.0**-11, "q8_0": 0.6 / 127}
"""Largest difference of a weight over the tensor's largest: f16 keeps 11 bits, q8_0 has 127 steps a side, and its
scale is itself an f16."""
MOST_TOKENS = 512
"""Tokens of each text that are compared."""
READ_BY_TRANSFORMERS = ("llama", "qwen2", "qwen3")
"""What transformers reads by itself: a second opinion on names and rotation."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How far a file is from its model. `reader` says who read it back."""

    kind: str
    reader: str
    split: str
    tokens: int
    perplexity_before: float
    perplexity: float
    logprob_mean: float
    """Mean difference of the log-probability of a text's tokens, in nats."""
    logprob_most: float
    same_best: float
    """Share of positions at which the most probable token is the same."""
    normalised: bool
    bytes: int

    @property
    def perplexity_change(self) -> float:
        """Relative difference of perplexity."""
        return self.perplexity / self.perplexity_before - 1

    def __str__(self) -> str:
        lines = [
            f"read back by {self.reader} and compared on {self.tokens:,} tokens, split as `{self.split}`:",
            f"  perplexity {self.perplexity_before:.4f} -> {self.perplexity:.4f} "
            f"({self.perplexity_change:+.4%}; at most {PERPLEXITY[self.kind]:.1%})",
            f"  log-probability differs by {self.logprob_mean:.5f} nats on average (at most {LOGPROB[self.kind]}), "
            f"by {self.logprob_most:.5f} at most; the most probable token is the same at {self.same_best:.2%}",
        ]
        if self.normalised:
            lines.append("  the tokenizer composes characters (NFC) and llama.cpp does not: give it composed text")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Figures:
    """A model on the texts: the log-probability of each token [N], and the most probable one at each place [N]."""

    logprobs: Tensor
    best: Tensor

    @property
    def perplexity(self) -> float:
        """Of all texts together."""
        return math.exp(-float(self.logprobs.mean()))


@torch.inference_mode()
def figures(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> Figures:
    """The model on our texts and `texts`, each from its start."""
    model.eval()
    found, best = [], []
    for text in (*PROBES, *texts):
        ids = torch.tensor([tokenizer(text)["input_ids"][:MOST_TOKENS]])
        if ids.shape[1] < 2:
            continue
        logp = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        found.append(logp.gather(1, ids[0, 1:, None])[:, 0])
        best.append(logp.argmax(-1))
    return Figures(torch.cat(found), torch.cat(best))


def compare(
    path: Path,
    folder: Path,
    config: Any,
    layout: Layout,
    words: Words,
    original: Figures,
    tokenizer: Any,
    kind: str,
    texts: Sequence[str],
) -> Compared:
    """Read the file back and say how far it is. Raises `DamagedError` where that is further than its kind may be."""
    reader = _opened(path)
    _same_words(reader, words, tokenizer, texts, path)
    model, by = _reload(path, reader, config, layout)
    _same_weights(model, folder, kind, path)
    again = figures(model, tokenizer, texts)
    del model
    gc.collect()
    apart = (again.logprobs - original.logprobs).abs()
    found = Compared(
        kind,
        by,
        words.split.name,
        len(apart),
        original.perplexity,
        again.perplexity,
        float(apart.mean()),
        float(apart.max()),
        float((again.best == original.best).float().mean()),
        words.normalised,
        path.stat().st_size,
    )
    if not (found.logprob_mean <= LOGPROB[kind] and abs(found.perplexity_change) <= PERPLEXITY[kind]):
        raise DamagedError(f"the {kind} file answers otherwise than the model:\n{found}", where=Where(path))
    return found


def _opened(path: Path) -> Any:
    """gguf's reader over a plain view of the file.

    It slices the file once for every token and merge, and a slice of a memmap takes three times as long as one of an
    array: 6.2 s, then 2.2 s for 128,000 of each.
    """
    import gguf

    class Reader(gguf.GGUFReader):
        def _get(self, *asked: Any, **more: Any) -> Any:
            if isinstance(self.data, np.memmap):
                self.data: Any = self.data.view(np.ndarray)
            return super()._get(*asked, **more)

    return Reader(path)


def _same_words(reader: Any, words: Words, tokenizer: Any, texts: Sequence[str], path: Path) -> None:
    """The file's tokens and merges, read back, encode every text as the tokenizer does, and hold its special ids."""
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    kinds = reader.get_field("tokenizer.ggml.token_type").contents()
    merges = reader.get_field("tokenizer.ggml.merges").contents()
    added = [
        {"content": token, "special": kind == CONTROL}
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    ]
    ours = build({token: i for i, token in enumerate(tokens)}, merges, added, words.split)
    for text in (*PROBES, *texts, "".join(a["content"] + "x" for a in added)):
        wanted = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        if ours.encode(text, add_special_tokens=False).ids != wanted:
            raise DamagedError(f"the file's tokens read {text[:40]!r} otherwise than the tokenizer", where=Where(path))


def _same_weights(model: nn.Module, folder: Path, kind: str, path: Path) -> None:
    """Every weight as near the folder's as its kind lets it be; the texts do not touch every row of an embedding."""
    files = tensor_files(folder)
    for name, parameter in model.named_parameters():
        if name not in files:
            continue  # an output tied to the embedding
        with opened(files[name]) as file:
            wanted = file.get_tensor(name).float()
        if not (parameter - wanted).abs().max() <= WEIGHT[kind] * wanted.abs().max():
            raise DamagedError(f"`{name}` reads back otherwise than it was written", where=Where(path))


def _reload(path: Path, reader: Any, config: Any, layout: Layout) -> tuple[nn.Module, str]:
    """The model that the file holds, by transformers' own reader where it knows the architecture."""
    from transformers import AutoModelForCausalLM

    if config.model_type in READ_BY_TRANSFORMERS:
        opener: Any = AutoModelForCausalLM
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be turned off
            model = opener.from_pretrained(path.parent, gguf_file=path.name, config=config, dtype=torch.float32)
        return model, "transformers"
    return _rebuilt(path, reader, config, layout), "us"


def _rebuilt(path: Path, reader: Any, config: Any, layout: Layout) -> nn.Module:
    from gguf import quants
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    names = places(config, layout)
    held = {t.name: t for t in reader.tensors}
    for name, parameter in model.named_parameters():
        place = names(name)
        if place not in held:
            raise DamagedError(f"the file lacks `{name}`", where=Where(path))
        stored = held[place]
        tensor: Array = quants.dequantize(stored.data, stored.tensor_type).astype(np.float32)
        parameter.data = torch.from_numpy(from_file(name, tensor.reshape(parameter.shape), config, layout))
    model.tie_weights()  # type: ignore[operator]
    return model
