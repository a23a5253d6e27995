"""How llama.cpp lays out the architectures that we export: its name for them, their numbers, and their tensors.

Each entry was compared with llama.cpp itself on random weights, logit by logit (`bench/llama_cpp.py`). What is not
here is refused: a file that loads and answers otherwise is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError

Array = npt.NDArray[np.float32]
Numbers = dict[str, Any]
"""Metadata without the architecture's prefix: key -> int, float, bool or list."""

OTHERWISE = "export without --gguf, and convert the folder with llama.cpp's convert_hf_to_gguf.py or serve it with vLLM"


@dataclass(frozen=True, slots=True)
class Layout:
    """One architecture in llama.cpp: its `name`, whether rotary pairs are interleaved there, and what it needs beside.

    `tied` says whether llama.cpp takes the embedding where there is no output tensor.
    """

    name: str
    interleaved: bool = False
    tied: bool = True
    besides: Callable[[Any], Numbers] = lambda config: {}


def layout_of(config: Any) -> Layout:
    """The layout for a model's config. Raises `InputError` for what llama.cpp does not do, or does otherwise."""
    kind = str(config.model_type)
    if kind not in LAYOUTS:
        raise InputError(
            f"`{kind}` models are not exported as GGUF; these are: {', '.join(sorted(LAYOUTS))}", fix=OTHERWISE
        )
    rope = rope_of(config)
    allowed = ("default", "llama3") if kind in ("llama", "smollm3") else ("default", "yarn")
    if rope["rope_type"] not in allowed[: 2 if kind in ("llama", "smollm3", "olmo3") else 1]:
        raise InputError(f"`rope_type: {rope['rope_type']}` of a {kind} model is not exported as GGUF", fix=OTHERWISE)
    if getattr(config, "hidden_act", "silu") not in ("silu", "gelu"):
        raise InputError(f"llama.cpp has no {kind} with `hidden_act: {config.hidden_act}`", fix=OTHERWISE)
    return LAYOUTS[kind]


def rope_of(config: Any) -> dict[str, Any]:
    """Rotary settings as transformers 5 holds them; of those by kind of layer, the full attention's."""
    found = dict(getattr(config, "rope_parameters", None) or {})
    found = dict(found.get("full_attention", found))
    return {"rope_type": "default", "rope_theta": getattr(config, "rope_theta", 10_000.0), **found}


def numbers(config: Any, layout: Layout) -> Numbers:
    """The architecture's numbers, by llama.cpp's keys."""
    heads = int(config.num_attention_heads)
    width = head_width(config)
    rope = rope_of(config)
    found: Numbers = {
        "context_length": int(config.max_position_embeddings),
        "embedding_length": int(config.hidden_size),
        "block_count": int(config.num_hidden_layers),
        "feed_forward_length": int(config.intermediate_size),
        "attention.head_count": heads,
        "attention.head_count_kv": int(getattr(config, "num_key_value_heads", None) or heads),
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": int(width * rope.get("partial_rotary_factor", 1.0)),
        "rope.freq_base": float(rope["rope_theta"]),
        "vocab_size": int(config.vocab_size),
    }
    if hasattr(config, "rms_norm_eps"):
        found["attention.layer_norm_rms_epsilon"] = float(config.rms_norm_eps)
    return found | layout.besides(config)


def head_width(config: Any) -> int:
    """Numbers in a head's query."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def to_file(name: str, tensor: Array, config: Any, layout: Layout) -> Array:
    """A tensor of transformers as llama.cpp wants it: rotary halves interleaved, fused attention by part."""
    if layout.interleaved and name.endswith(("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")):
        halves = tensor.reshape(-1, 2, head_width(config) // 2, *tensor.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))
    if ".query_key_value." in name:  # [heads, (q, k, v), width, ...] -> [(q, k, v), heads, width, ...]
        parts = tensor.reshape(config.num_attention_heads, 3, head_width(config), *tensor.shape[1:])
        return np.ascontiguousarray(parts.swapaxes(0, 1).reshape(tensor.shape))
    return tensor


def from_file(name: str, tensor: Array, config: Any, layout: Layout) -> Array:
    """The inverse of `to_file`."""
    if layout.interleaved and name.endswith(("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")):
        pairs = tensor.reshape(-1, head_width(config) // 2, 2, *tensor.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(tensor.shape))
    if ".query_key_value." in name:
        parts = tensor.reshape(3, config.num_attention_heads, head_width(config), *tensor.shape[1:])
        return np.ascontiguousarray(parts.swapaxes(0, 1).reshape(tensor.shape))
    return tensor


def places(config: Any, layout: Layout) -> Callable[[str], str | None]:
    """llama.cpp's name for a tensor of transformers, None where it has none; by the tables of the `gguf` package."""
    import gguf

    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == layout.name)
    table = gguf.get_tensor_name_map(arch, int(config.num_hidden_layers))
    return lambda name: table.get_name(name, try_suffixes=(".weight", ".bias"))


def rope_factors(config: Any) -> Array | None:
    """What llama.cpp divides each rotary frequency by, float32[width / 2], for Llama 3's scaling; None without one.

    The formula is that of transformers' `_compute_llama3_parameters`.
    """
    rope = rope_of(config)
    if rope["rope_type"] != "llama3":
        return None
    width, factor = head_width(config), float(rope["factor"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    old = float(rope["original_max_position_embeddings"])
    found = []
    for i in range(0, width, 2):
        wavelength = 2 * math.pi * float(rope["rope_theta"]) ** (i / width)
        smooth = (old / wavelength - low) / (high - low)
        inside = min(max(smooth, 0.0), 1.0)
        found.append(1 / ((1 - inside) / factor + inside))
    return np.array(found, np.float32)


def _olmo3(config: Any) -> Numbers:
    """Every fourth layer sees everything; llama.cpp holds that pattern itself, so another one is refused."""
    wanted = ["full_attention" if i % 4 == 3 else "sliding_attention" for i in range(config.num_hidden_layers)]
    if list(config.layer_types) != wanted:
        raise InputError(
            "llama.cpp takes every fourth layer of olmo3 as full attention, and this model's differ", fix=OTHERWISE
        )
    rope = rope_of(config)
    found: Numbers = {"attention.sliding_window": int(config.sliding_window)}
    if rope["rope_type"] != "yarn":
        return found
    plain = rope.get("beta_fast", 32) == 32 and rope.get("beta_slow", 1) == 1 and rope.get("truncate", True)
    if not plain or rope.get("mscale"):
        raise InputError("llama.cpp takes YaRN's own bounds, 32 and 1, and this model's differ", fix=OTHERWISE)
    usual = 0.1 * math.log(rope["factor"]) + 1  # YaRN's own (arXiv 2309.00071), which llama.cpp multiplies with
    return found | {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(rope["factor"]),
        "rope.scaling.attn_factor": float(rope.get("attention_factor") or usual) / usual,
        "rope.scaling.original_context_length": int(rope["original_max_position_embeddings"]),
    }


def _smollm3(config: Any) -> Numbers:
    """Every fourth layer has no rotary positions; llama.cpp holds that pattern itself, so another one is refused."""
    if list(config.no_rope_layers) != [int((i + 1) % 4 != 0) for i in range(config.num_hidden_layers)]:
        raise InputError(
            "llama.cpp leaves out positions in every fourth layer of smollm3, and this model's differ", fix=OTHERWISE
        )
    if getattr(config, "use_sliding_window", False):
        raise InputError("llama.cpp's smollm3 has no sliding window", fix=OTHERWISE)
    return {}


def _full(config: Any) -> Numbers:
    """Nothing beside, if no layer has a sliding window."""
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise InputError(f"llama.cpp's {config.model_type} has no sliding window", fix=OTHERWISE)
    return {}


def _gpt_neox(config: Any) -> Numbers:
    return {
        "attention.head_count_kv": int(config.num_attention_heads),
        "attention.layer_norm_epsilon": float(config.layer_norm_eps),
        "use_parallel_residual": bool(config.use_parallel_residual),
    }


LAYOUTS: Mapping[str, Layout] = {
    "llama": Layout("llama", interleaved=True),
    "smollm3": Layout("smollm3", interleaved=True, besides=_smollm3),
    "qwen2": Layout("qwen2", besides=_full),
    "qwen3": Layout("qwen3", besides=_full),
    "olmo2": Layout("olmo2", tied=False),
    "olmo3": Layout("olmo2", tied=False, besides=_olmo3),
    "gpt_neox": Layout("gptneox", tied=False, besides=_gpt_neox),
}
