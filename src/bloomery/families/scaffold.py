"""An empty model from one dial: its depth, or its size. Everything else follows, each value from a published rule.

nanochat is github.com/karpathy/nanochat (`scripts/base_train.py`); numbers like 2401.02954 are arXiv ids; model names
stand for their published configurations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bloomery.core.errors import InputError

Shape = Literal["llama", "qwen3", "olmo3"]

DEEPEST = 128
ASPECT = 64
TOKENS_PER_PARAMETER = 20
LARGEST_PEAK = 3e-3
"""The highest peak rate that a family of ours was trained with: SmolLM2 135M and 360M."""

WARMUP = 0.02
"""nanochat warms up over 40 steps; its model of depth 12 trains for about 2,500."""


@dataclass(frozen=True, slots=True)
class Derived:
    """One value, and the rule and source that it follows from."""

    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Scaffold:
    """An empty model: `config` is the contents of its config.json, `values` is everything derived, by name."""

    config: dict[str, Any]
    values: dict[str, Derived]

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value


def scaffold(
    shape: Shape,
    vocabulary: int,
    *,
    depth: int | None = None,
    parameters: int | None = None,
    context: int | None = None,
    tokens: Mapping[str, int | None] | None = None,
) -> Scaffold:
    """The empty model of a depth, or of about so many `parameters`, over a `vocabulary` of so many tokens.

    `context` is the longest row in tokens where it is not to be derived; `tokens` are ids by their key in config.json
    (`eos_token_id`). Raises `InputError` for neither or both of the dials, a depth beyond bounds, or a size below that
    of the smallest model.
    """
    if (depth is None) == (parameters is None):
        raise InputError("a scaffold has one dial: `depth` or `parameters`", fix="set one of the two")
    if depth is None:
        depth, asked = depth_of(parameters or 0, shape, vocabulary), f"the depth nearest to {parameters:,} parameters"
    else:
        asked = "the dial"
    if not 1 <= depth <= DEEPEST:
        raise InputError(f"`depth: {depth}` is no depth of a model", fix=f"use 1 to {DEEPEST}")
    values = {"depth": Derived(depth, asked)} | _sizes(shape, depth, vocabulary, context)
    values |= _training(values["parameters"].value, values["context"].value)
    return Scaffold(_config(shape, values, tokens or {}), values)


def head_width(depth: int) -> int:
    """64 below a width of 2,048 (SmolLM2 135M and 360M), 128 from there on (OLMo 2, Qwen3, nanochat)."""
    return 64 if depth * ASPECT < 2048 else 128


def width(depth: int) -> int:
    """64 a layer, in whole heads (nanochat: `--aspect-ratio 64`)."""
    whole = head_width(depth)
    return -(-depth * ASPECT // whole) * whole


def kv_heads(heads: int) -> int:
    """Groups of up to four query heads share keys and values (2305.13245): SmolLM2 has groups of 3, Llama 3 8B of 4."""
    return heads // next(group for group in (4, 3, 2, 1) if heads % group == 0)


def ffn(hidden: int) -> int:
    """8/3 of the width, so that three matrices of a gated layer are as large as two of 4 x (2002.05202), in 64s."""
    return -(-hidden * 8 // 3 // 64) * 64


def tied(hidden: int) -> bool:
    """One matrix for both embeddings below a width of 4,096: Qwen3 up to 4B, Llama 3.2 and SmolLM; none from 7B on."""
    return hidden < 4096


def usual_context(hidden: int) -> int:
    """2,048 (nanochat, SmolLM2), 4,096 from a width of 2,048 on (OLMo 2)."""
    return 2048 if hidden < 2048 else 4096


def rope_theta(context: int) -> float:
    """10,000 up to 4,096 tokens (Llama 2), 500,000 beyond (2309.16039; Llama 3 with 8,192)."""
    return 10_000.0 if context <= 4096 else 500_000.0


def parameter_count(shape: Shape, depth: int, vocabulary: int) -> int:
    """All weights of the model, embeddings and norms included."""
    hidden, head = width(depth), head_width(depth)
    queries = hidden // head
    keys = kv_heads(queries)
    attention = hidden * head * (2 * queries + 2 * keys)
    norms = 2 * hidden + _QK_NORMS[shape](queries, keys, head)
    embeddings = vocabulary * hidden * (1 if tied(hidden) else 2)
    return embeddings + depth * (attention + 3 * hidden * ffn(hidden) + norms) + hidden


_QK_NORMS: dict[Shape, Callable[[int, int, int], int]] = {
    "llama": lambda queries, keys, head: 0,
    "qwen3": lambda queries, keys, head: 2 * head,
    "olmo3": lambda queries, keys, head: (queries + keys) * head,
}
"""Weights of the norms of queries and keys in a layer: one a head shared by all, or one over all heads."""


def depth_of(parameters: int, shape: Shape, vocabulary: int) -> int:
    """The depth whose model is nearest in size, by ratio. Raises `InputError` below the smallest and above the largest.

    A vocabulary alone may be larger than a small model.
    """
    sizes = {depth: parameter_count(shape, depth, vocabulary) for depth in range(1, DEEPEST + 1)}
    if parameters < sizes[1] / 1.5:
        raise InputError(
            f"`parameters: {parameters:,}` is less than the smallest model has: {sizes[1]:,} at depth 1 with a "
            f"vocabulary of {vocabulary:,}",
            fix="ask for more, or use a tokenizer with a smaller vocabulary",
        )
    if parameters > sizes[DEEPEST] * 1.05:
        raise InputError(f"`parameters: {parameters:,}` is more than depth {DEEPEST} has", fix="ask for fewer")
    return min(sizes, key=lambda each: abs(math.log(sizes[each] / parameters)))


def horizon(parameters: int) -> int:
    """Tokens to train on for the best model of its compute: 20 a parameter (Chinchilla, 2203.15556)."""
    return TOKENS_PER_PARAMETER * parameters


def compute(parameters: int, tokens: int) -> float:
    """FLOP of a training: 6 a parameter and token (2001.08361)."""
    return 6.0 * parameters * tokens


def batch_tokens(flop: float, context: int) -> int:
    """Tokens a step, 0.2920 C^0.3271 of the compute (DeepSeek LLM, 2401.02954, section 3.1), in whole rows."""
    return max(1, round(0.2920 * math.pow(flop, 0.3271) / context)) * context


def peak_lr(flop: float) -> float:
    """Peak rate, 0.3118 C^-0.1250 of the compute (DeepSeek LLM, 2401.02954, section 3.1), at most `LARGEST_PEAK`.

    The law was fitted from 1e17 FLOP on; below that the bound holds.
    """
    return min(LARGEST_PEAK, float(f"{0.3118 * math.pow(flop, -0.1250):.3g}"))


def init_std(hidden: int) -> float:
    """0.02 at every width: with it OLMo 2 had the fewest spikes of loss (2501.00656)."""
    return 0.02


def _sizes(shape: Shape, depth: int, vocabulary: int, context: int | None) -> dict[str, Derived]:
    """What the weights follow from."""
    hidden, head = width(depth), head_width(depth)
    queries, rows = hidden // head, context or usual_context(hidden)
    count = parameter_count(shape, depth, vocabulary)
    return {
        "width": Derived(hidden, f"{ASPECT} a layer, in whole heads (nanochat)"),
        "head_width": Derived(head, "64 below a width of 2,048 (SmolLM2), 128 from there on (OLMo 2, Qwen3)"),
        "heads": Derived(queries, "the width over that of a head"),
        "kv_heads": Derived(kv_heads(queries), "groups of up to four heads share keys and values (arXiv 2305.13245)"),
        "ffn": Derived(ffn(hidden), "8/3 of the width, in 64s (arXiv 2002.05202)"),
        "vocabulary": Derived(vocabulary, "all tokens of the tokenizer"),
        "tied": Derived(tied(hidden), "one embedding matrix below a width of 4,096 (Qwen3, Llama 3.2, SmolLM2)"),
        "context": Derived(rows, "`data.context`" if context else "2,048, or 4,096 from a width of 2,048 on (OLMo 2)"),
        "rope_theta": Derived(rope_theta(rows), "10,000 (Llama 2), 500,000 beyond 4,096 tokens (arXiv 2309.16039)"),
        "init_std": Derived(init_std(hidden), "0.02 at every width (OLMo 2, arXiv 2501.00656)"),
        "parameters": Derived(count, "embeddings, layers and norms"),
    }


def _training(parameters: int, context: int) -> dict[str, Derived]:
    """What its training follows from."""
    tokens = horizon(parameters)
    flop = compute(parameters, tokens)
    law = f"of {flop:.2g} FLOP (DeepSeek LLM, arXiv 2401.02954)"
    peak = peak_lr(flop)
    bound = f", at most {LARGEST_PEAK:g} (SmolLM2)" if peak == LARGEST_PEAK else ""
    return {
        "horizon": Derived(tokens, f"{TOKENS_PER_PARAMETER} tokens a parameter (Chinchilla, arXiv 2203.15556)"),
        "batch_tokens": Derived(batch_tokens(flop, context), f"0.2920 C^0.3271 {law}, in whole rows"),
        "peak_lr": Derived(peak, f"0.3118 C^-0.125 {law}{bound}"),
        "warmup": Derived(WARMUP, "40 of about 2,500 steps (nanochat at depth 12)"),
    }


def _config(shape: Shape, values: Mapping[str, Derived], tokens: Mapping[str, int | None]) -> dict[str, Any]:
    """The contents of config.json."""
    found = {name: derived.value for name, derived in values.items()}
    architecture = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM", "olmo3": "Olmo3ForCausalLM"}[shape]
    return {
        "architectures": [architecture],
        "model_type": shape,
        "vocab_size": found["vocabulary"],
        "hidden_size": found["width"],
        "intermediate_size": found["ffn"],
        "num_hidden_layers": found["depth"],
        "num_attention_heads": found["heads"],
        "num_key_value_heads": found["kv_heads"],
        "head_dim": found["head_width"],
        "hidden_act": "silu",
        "max_position_embeddings": found["context"],
        "rope_parameters": _rope(shape, found["rope_theta"]),
        "rms_norm_eps": 1e-6,
        "initializer_range": found["init_std"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": found["tied"],
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **tokens,
        **(_windows(found["depth"], found["context"]) if shape == "olmo3" else {}),
        "dtype": "float32",
    }


def _rope(shape: Shape, theta: float) -> dict[str, Any]:
    """What transformers calls the rotary settings; Olmo 3 has them by kind of layer."""
    own = {"rope_type": "default", "rope_theta": theta}
    return {"sliding_attention": own, "full_attention": own} if shape == "olmo3" else own


def _windows(depth: int, context: int) -> dict[str, Any]:
    """Three layers of four see half the context, the last one all of it (Olmo 3: 4,096 of 8,192)."""
    kinds = ["full_attention" if n % 4 == 0 or n == depth else "sliding_attention" for n in range(1, depth + 1)]
    return {"sliding_window": max(1, context // 2), "layer_types": kinds}
