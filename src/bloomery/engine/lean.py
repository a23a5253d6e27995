"""The forward of decoders of Llama's shape, written out.

A step of 64 tokens of a small model is a dozen short operations a layer, and as much again is Python around them. Here
are the same operations without it, and fewer: one RMS norm, one rotation of queries and keys together, one product for
queries, keys and values where nothing is hooked to them. Else the model's own linear modules are called, with the hooks
and adapters they have. Weights are read where they are, or from copies that know when they were changed (`packed.py`),
so that what training changes in place is seen at once.

Only code that we know is written out: classes of transformers by their module, layers by the names of their children.
What attention must honour is taken from a run of the model's own forward, and `trial.py` compares the results.

Shapes: T tokens of the step, H hidden width, G query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from bloomery.engine.packed import hooked, joint, swish
from bloomery.engine.ragged import Options, Part, attend
from bloomery.engine.recorder import recorded

KINDS = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "olmo3"})
"""Model types whose decoder, attention and feed-forward layers are written out here."""
NORMS = {
    frozenset({"input_layernorm", "post_attention_layernorm"}): (
        "input_layernorm",
        None,
        "post_attention_layernorm",
        None,
    ),
    frozenset({"post_attention_layernorm", "post_feedforward_layernorm"}): (
        None,
        "post_attention_layernorm",
        None,
        "post_feedforward_layernorm",
    ),
}
"""By a layer's norms: which stands before and after attention, before and after the feed-forward layer."""
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
HEAD_NORMS = {"q_norm", "k_norm"}
FEED_FORWARD = {"gate_proj", "up_proj", "down_proj", "act_fn"}
SWISH = (nn.SiLU, SiLUActivation)


@dataclass(frozen=True, slots=True)
class _Layer:
    """The parts of one layer, the model's own."""

    number: int
    inputs: tuple[Any, Any, Any]
    """Projections to queries, keys and values."""
    heads: tuple[int, int]
    """G and K."""
    output: Any
    """The projection of what was attended to."""
    head_norms: tuple[Any, Any] | None
    """Of queries and keys."""
    feed: tuple[Any, Any, Any, Any]
    """Gate, up, down, and the function of the gate."""
    norms: tuple[Any, Any, Any, Any]
    rotary: str | None
    """Which rotation queries and keys get; the empty one where there is only one, None where they get none."""
    width: int
    """D."""
    options: Options


class Lean:
    """A `Forward` of a decoder whose layers are known."""

    def __init__(self, decoder: Any, layers: Sequence[_Layer]) -> None:
        self.decoder, self.layers = decoder, layers
        self.rotations = sorted({layer.rotary for layer in layers if layer.rotary is not None})

    def __call__(self, ids: Tensor, positions: Tensor, parts: Sequence[Part]) -> Tensor:
        """Ids int64[T], positions int64[T] -> the last hidden states [T, H]."""
        x: Tensor = self.decoder.embed_tokens(ids)
        turns = {name: self._turn(name, x, positions) for name in self.rotations}
        for layer in self.layers:
            before, after, before_feed, after_feed = layer.norms
            turn = None if layer.rotary is None else turns[layer.rotary]
            x = x + _norm(after, _attention(layer, _norm(before, x), turn, parts))
            x = x + _norm(after_feed, _feed(layer, _norm(before_feed, x)))
        return _norm(self.decoder.norm, x)

    def _turn(self, name: str, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, G + K, D] of a rotation; the sines with the sign of the half that they multiply."""
        named = {"layer_type": name} if name else {}
        cos, sin = (part[0] for part in self.decoder.rotary_emb(x[None], positions[None], **named))
        first, second = sin.chunk(2, -1)
        config = self.decoder.config
        shape = (len(x), config.num_attention_heads + config.num_key_value_heads, cos.shape[-1])
        sin = torch.cat([-first, second], -1)
        return cos[:, None].expand(shape).contiguous(), sin[:, None].expand(shape).contiguous()


def _norm(norm: Any, x: Tensor) -> Tensor:
    """The RMS norm of x over its last axis, or x itself where there is no norm."""
    return x if norm is None else torch.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _linear(module: Any, x: Tensor) -> Tensor:
    """As the module does it, without the way through its hooks where it has none."""
    plain = type(module) is nn.Linear and not hooked(module)
    out: Tensor = module.forward(x) if plain else module(x)
    return out


def _beside(modules: Sequence[Any], x: Tensor) -> Tensor:
    """What several modules make of x, side by side."""
    out = joint(modules, x)
    return torch.cat([_linear(module, x) for module in modules], -1) if out is None else out


def _attention(layer: _Layer, x: Tensor, turn: tuple[Tensor, Tensor] | None, parts: Sequence[Part]) -> Tensor:
    """x [T, H] -> [T, H]."""
    count, width, (queries, keys) = len(x), layer.width, layer.heads
    out = _beside(layer.inputs, x).view(count, -1, width)
    both, values = out[:, : queries + keys], out[:, queries + keys :]
    if layer.head_norms is not None:  # over each head, or over all of them at once
        split = both[:, :queries], both[:, queries:]
        both = torch.cat(
            [
                _norm(norm, y.reshape(count, -1, len(norm.weight))).view(count, -1, width)
                for norm, y in zip(layer.head_norms, split, strict=True)
            ],
            1,
        )
    if turn is not None:
        half = both.roll(width // 2, -1)
        both = both.mul_(turn[0]).addcmul_(half, turn[1])
    told = attend(parts, layer.number, both[:, :queries], both[:, queries:], values, layer.options)
    return _linear(layer.output, told.reshape(count, -1))


def _feed(layer: _Layer, x: Tensor) -> Tensor:
    """x [T, H] -> [T, H]."""
    gate, up, down, function = layer.feed
    gated = swish(gate, x) if isinstance(function, SWISH) else None
    gated = function(_linear(gate, x)) if gated is None else gated
    return _linear(down, gated.mul_(_linear(up, x)))


def lean_forward(model: nn.Module) -> Lean | None:
    """The forward of a model that attends through us, where its decoder is one that is written out here."""
    decoder: Any = model.get_decoder()  # type: ignore[operator]
    if not _ours(decoder, decoder) or {name for name, _ in decoder.named_children()} != {
        "embed_tokens",
        "layers",
        "norm",
        "rotary_emb",
    }:
        return None
    options = recorded(model).options
    layers = [_layer(decoder, module, options) for module in decoder.layers]
    found = [layer for layer in layers if layer is not None]
    return Lean(decoder, found) if len(found) == len(layers) == decoder.config.num_hidden_layers else None


def _layer(decoder: Any, module: Any, options: dict[int, Options]) -> _Layer | None:
    """One layer of a decoder, or None where it is not built as we know it."""
    children = {name for name, _ in module.named_children()}
    norms = NORMS.get(frozenset(children - {"self_attn", "mlp"}))
    if norms is None or not _ours(decoder, module) or not {"self_attn", "mlp"} <= children:
        return None
    its, feed = module.self_attn, module.mlp
    projections, fed = ({name for name, _ in part.named_children()} for part in (its, feed))
    if not _ours(decoder, its) or projections not in (ATTENTION, ATTENTION | HEAD_NORMS) or fed != FEED_FORWARD:
        return None
    if not _ours(decoder, feed) or its.layer_idx not in options:
        return None
    by_type = isinstance(getattr(decoder.rotary_emb, "rope_type", None), dict)
    rotary = decoder.config.layer_types[its.layer_idx] if by_type else ""
    return _Layer(
        its.layer_idx,
        (its.q_proj, its.k_proj, its.v_proj),
        (decoder.config.num_attention_heads, decoder.config.num_key_value_heads),
        its.o_proj,
        (its.q_norm, its.k_norm) if projections >= HEAD_NORMS else None,
        (feed.gate_proj, feed.up_proj, feed.down_proj, feed.act_fn),
        tuple(None if name is None else getattr(module, name) for name in norms),  # type: ignore[arg-type]
        rotary if getattr(its, "use_rope", True) else None,
        its.head_dim,
        options[its.layer_idx],
    )


def _ours(decoder: Any, module: Any) -> bool:
    """Whether a module's code is transformers' own for a kind of decoder that is written out here."""
    kind = decoder.config.model_type
    return kind in KINDS and type(module).__module__ == f"transformers.models.{kind}.modeling_{kind}"
