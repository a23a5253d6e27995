"""How many bytes a training step takes, from the numbers in config.json alone.

    weights + gradients + optimiser state        per parameter
    + activations                                per token of a micro-batch, per layer
    + head                                       a panel of logits, and the head's gradient twice
    + runtime                                    kernels and the heap's gaps

It counts what is above the level right after importing torch, at the peak of a step of several micro-batches: in the
head of the second one, when gradients and all activations exist. `_saved_per_token` lists the tensors that autograd
keeps for the backward pass of a Llama's decoder layer. `bench/memory.py` puts it beside measured peaks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HEAD_CHUNK, HEAD_BYTES = 1024, 128 * 2**20
"""Positions whose logits exist at the same time, and the most bytes they take (`models/panels.py`)."""

KEPT_SHARES = 512
"""Attention shares of documents up to this length are kept on CPU (`models/tiles.py`); GPU kernels keep none."""

RUNTIME, GAPS = 170 * 10**6, 1.15
"""On CPU, measured: kernels made for shapes and libraries' pages that the first step touches; what activations of
several sizes take of the heap for one byte of theirs."""

GATED = ("llama", "mistral", "qwen", "olmo", "gemma", "smollm", "phi3", "granite", "gpt_oss")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of a decoder that its memory follows from."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    tied: bool
    gated: bool
    experts: int = 1
    active_experts: int = 1

    @property
    def parameters(self) -> int:
        """Weights in all: embeddings, attention, feed-forward, norms; biases are left out."""
        attention = self.hidden * self.head_width * (2 * self.heads + 2 * self.kv_heads)
        ffn = (3 if self.gated else 2) * self.hidden * self.ffn * self.experts
        router = self.hidden * self.experts if self.experts > 1 else 0
        per_layer = attention + ffn + router + 2 * self.hidden
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * per_layer + self.hidden

    @property
    def linear_parameters(self) -> int:
        """Weights a token passes through in the layers; active experts only. Training costs 6 FLOP for each."""
        attention = self.hidden * self.head_width * (2 * self.heads + 2 * self.kv_heads)
        ffn = (3 if self.gated else 2) * self.hidden * self.ffn * self.active_experts
        return self.layers * (attention + ffn) + self.vocab * self.hidden


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes a training step takes, by what takes them."""

    weights: int
    gradients: int
    optimiser: int
    activations: int
    head: int
    runtime: int

    @property
    def total(self) -> int:
        """All together, at the peak of the step."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.head + self.runtime


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape in a Hugging Face configuration; None when it lacks a number we need."""
    hidden, layers = _first(config, "hidden_size", "n_embd", "d_model"), _first(config, "num_hidden_layers", "n_layer")
    heads = _first(config, "num_attention_heads", "n_head")
    vocab = config.get("vocab_size")
    if not (hidden and layers and heads and vocab):
        return None
    kind = str(config.get("model_type", ""))
    experts = _first(config, "num_local_experts", "num_experts", "n_routed_experts") or 1
    ffn = config.get("moe_intermediate_size") if experts > 1 else None
    return ModelShape(
        vocab=vocab,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or hidden // heads,
        ffn=ffn or _first(config, "intermediate_size", "n_inner") or 4 * hidden,
        tied=bool(config.get("tie_word_embeddings", False)),
        gated=kind.startswith(GATED),
        experts=experts,
        active_experts=_first(config, "num_experts_per_tok", "experts_per_token") or 1,
    )


def stored_parameters(folder: Path) -> int | None:
    """Weights in a folder's `model*.safetensors`, read from their headers; None where there are none.

    Some repositories hold the same weights again as `consolidated.safetensors`, which transformers does not load.
    """
    total = 0
    for path in sorted(folder.glob("model*.safetensors")):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:
                return None
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                total += _product(tensor["shape"])
    return total or None


def training_bytes(
    shape: ModelShape,
    micro_tokens: int,
    *,
    bf16: bool,
    state: Literal["fp32", "bf16"] = "fp32",
    checkpointing: bool = False,
    trainable: int | None = None,
    quantised: bool = False,
    averaged: bool = False,
    document_tokens: int | None = None,
) -> Need:
    """Peak bytes of a training step above the level after import.

    `trainable` parameters (LoRA's; default all) have masters, gradients and moments; the others only their weights,
    in 4 bits outside the embeddings where `quantised`. With `averaged` their mean is kept too. `document_tokens` is the
    length of document that a token is typically in, on CPU; None on GPU.
    """
    trained = shape.parameters if trainable is None else trainable
    width = 2 if bf16 else 4
    per_token = _saved_per_token(shape, width, document_tokens)
    if checkpointing:
        # One residual a layer is kept; a single layer is recomputed at a time.
        per_token = shape.layers * shape.hidden * width + per_token // shape.layers
    gaps = 1.0 if document_tokens is None else GAPS
    ends = 5 * shape.hidden * width  # the last residual, its norm, the positions picked from it and both gradients
    table = shape.vocab * shape.hidden
    return Need(
        weights=_weight_bytes(shape, width, quantised) + (trained * 4 if bf16 else 0),
        gradients=trained * 4,
        optimiser=trained * 2 * (4 if state == "fp32" else 2) + (trained * 4 if averaged else 0),
        activations=int(micro_tokens * gaps) * (per_token + ends),
        head=min(HEAD_CHUNK * shape.vocab * width, HEAD_BYTES) + (table * (4 + width) if trainable is None else 0),
        runtime=0 if document_tokens is None else RUNTIME,
    )


def _weight_bytes(shape: ModelShape, width: int, quantised: bool) -> int:
    if not quantised:
        return shape.parameters * width
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    # 4 bits and 0.127 of doubly quantised constants a weight: arXiv:2305.14314, section 3
    return embeddings * width + (shape.parameters - embeddings) * 4127 // 8000


def _saved_per_token(shape: ModelShape, width: int, document_tokens: int | None) -> int:
    """Bytes autograd keeps for one token over all layers.

    Attention: the residual, its norm, q and k after the rotary embedding, v, the kernel's output, and the shares of
    short documents. Feed-forward: the residual, its norm, and of the gated kind gate, its activation, up and product.
    """
    query, key = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = 2 * shape.hidden + 2 * query + 2 * key
    if document_tokens is not None and document_tokens <= KEPT_SHARES:
        attention += shape.heads * document_tokens
    ffn = 2 * shape.hidden + (4 if shape.gated else 2) * shape.ffn * shape.active_experts
    statistics = 2 * 4 + shape.heads * 4
    return shape.layers * ((attention + ffn) * width + statistics)


def lora_parameters(shape: ModelShape, rank: int, target: str) -> int:
    """Weights of adapters of `rank` on all linear layers, or on those of attention only."""
    query, key = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = 2 * (shape.hidden + query) + 2 * (shape.hidden + key)
    ffn = (3 if shape.gated else 2) * (shape.hidden + shape.ffn) * shape.experts
    return shape.layers * rank * (attention + (ffn if target == "all-linear" else 0))


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _product(numbers: list[int]) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total
