"""From hidden states to log-probabilities of given tokens, exact and without the logits of all rows.

Rows: n; hidden width: H; vocabulary: V. `token_logprobs` serves every loss; `weighted_sum` is for
losses whose weights are known before the logits (cross-entropy, policy gradients on fixed advantages):
it forms the gradients in the forward and so computes each logit once.

Measured on one thread, bf16, GFLOP/s of 6 * n * H * V where a plain matrix product reaches 169 (forward and
backward; "written out" is `F.cross_entropy(hidden @ weight.T in fp32)`, which holds [n, V] three times):

    n, H, V             logits kept   computed again   weighted_sum   written out
    4096, 256, 8192             101               94            127            72
    1500, 256, 8192             123               92            123            74
    1024, 256, 131072            84               77             97            57
    2048, 2048, 8192            130              106            128           143
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bloomery.core.errors import InputError
from bloomery.models import panels

KEEP_BYTES = 256 * 2**20
"""Logits in the compute dtype up to this size wait for the backward; larger ones are computed again."""


@dataclass(frozen=True, slots=True)
class Head:
    """How an architecture maps hidden states to logits: softcap(scale * (hidden @ weight.T + bias))."""

    linear: nn.Linear
    scale: float = 1.0
    softcap: float | None = None

    @property
    def weight(self) -> Tensor:
        """[V, H], the parameter itself (tied to the input embedding in many models)."""
        weight: Tensor = self.linear.weight
        return weight

    @property
    def bias(self) -> Tensor | None:
        """[V], or None as in most models."""
        bias: Tensor | None = self.linear.bias
        return bias


def find_head(model: nn.Module) -> Head:
    """Read the head of a causal LM from its output embeddings and config; `parity.check` proves it right.

    Raises `InputError` when the output embedding is no plain linear layer (adapters on it, quantised).
    """
    config: Any = model.config
    linear: Any = model.get_output_embeddings()  # type: ignore[operator]
    if type(linear) is not nn.Linear:
        kind = type(linear).__name__
        raise InputError(
            f"the model's output layer is a {kind}, not a plain linear layer", fix="leave it out of the adapter"
        )
    scale = 1.0
    if getattr(config, "logits_scaling", None):  # Granite divides
        scale = 1.0 / config.logits_scaling
    elif getattr(config, "logit_scale", None):  # Cohere multiplies
        scale = float(config.logit_scale)
    return Head(linear, scale, getattr(config, "final_logit_softcapping", None))


def logits(hidden: Tensor, head: Head) -> Tensor:
    """hidden [..., H] -> logits fp32[..., V], scaled and capped as the architecture does."""
    return panels.finish(nn.functional.linear(hidden, head.weight, head.bias).float(), head.scale, head.softcap)


def raw_logits(hidden: Tensor, head: Head) -> Tensor:
    """The same as its layer multiplies, in the type of the hidden states where the product is all there is to them."""
    raw: Tensor = head.linear(hidden)
    return raw if head.scale == 1 and head.softcap is None else panels.finish(raw.float(), head.scale, head.softcap)


def token_logprobs(
    hidden: Tensor, head: Head, targets: Tensor, temperature: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """hidden [n, H], targets int64[n] -> (logp fp32[n], lse fp32[n]): log-probability of the target, log normaliser.

    Logits are divided by `temperature` fp32[n] where there is one. Differentiable in the hidden states and the head's
    weight and bias.
    """
    logp, lse = _TokenLogprobs.apply(hidden, head.weight, head.bias, targets, _shape(hidden, head), temperature)
    return logp, lse


@torch.no_grad()
def leading_logprobs(
    hidden: Tensor, head: Head, targets: Tensor, ids: Tensor | None, count: int, rows: int = 256
) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probability of the target fp32[n], `ids` int64[n, k], theirs fp32[n, k]), without a gradient.

    Without `ids` they are each row's `count` likeliest tokens (all there are, where there are fewer). The logits of
    `rows` rows are held at a time.
    """
    found = []
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        logp = logits(hidden[part], head).log_softmax(-1)
        chosen = logp.topk(min(count, logp.shape[-1]), dim=-1).indices if ids is None else ids[part]
        found.append((logp.gather(1, targets[part, None])[:, 0], chosen, logp.gather(1, chosen)))
    first, second, third = zip(*found, strict=True)
    return torch.cat(first), torch.cat(second), torch.cat(third)


def weighted_sum(
    hidden: Tensor, head: Head, targets: Tensor, weight: Tensor, lse_weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """sum(weight * logp + lse_weight * lse ** 2), with logp and lse, which carry no gradient.

    hidden [n, H]; targets int64[n]; weight, lse_weight fp32[n] -> (fp32 scalar, fp32[n], fp32[n]).
    Cross-entropy is weight = -w / denominator; z-loss is lse_weight = z * w / denominator.
    """
    total, logp, lse = _WeightedSum.apply(
        hidden, head.weight, head.bias, targets, weight, lse_weight, _shape(hidden, head), torch.is_grad_enabled()
    )
    return total, logp, lse


def _shape(hidden: Tensor, head: Head) -> panels.Shape:
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
    return panels.Shape(head.scale, head.softcap, dtype)


def _of(rows: Tensor | None, panel: slice) -> Tensor | None:
    return None if rows is None else rows[panel]


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        shape: panels.Shape,
        temperature: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        inputs = panels.Inputs.of(hidden, weight, bias, targets, shape)
        keep = any(ctx.needs_input_grad) and inputs.logit_bytes <= KEEP_BYTES
        kept, found = [], []
        for panel in inputs.panels():
            raw = inputs.raw_logits(panel, fresh=keep)
            found.append(panels.log_probabilities(raw, targets[panel], shape, _of(temperature, panel)))
            if keep:
                kept.append(raw)
        ctx.save_for_backward(hidden, weight, bias, targets, temperature, *kept)
        ctx.shape = shape
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_logp: Tensor, d_lse: Tensor) -> tuple[Any, ...]:
        hidden, weight, bias, targets, temperature, *kept = ctx.saved_tensors
        inputs = panels.Inputs.of(hidden, weight, bias, targets, ctx.shape)
        gradients = panels.Gradients.zeros(inputs, ctx.needs_input_grad)
        for index, panel in enumerate(inputs.panels()):
            # kept logits are overwritten by their gradient: a second backward must not find them
            raw = kept[index].clone() if kept else inputs.raw_logits(panel)
            told = d_logp[panel], d_lse[panel]
            panels.to_gradient(raw, targets[panel], ctx.shape, *told, temperature=_of(temperature, panel))
            gradients.add(panel, raw)
        return *gradients.as_given(hidden, weight, bias), None, None, None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        coefficient: Tensor,
        lse_coefficient: Tensor | None,
        shape: panels.Shape,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = panels.Inputs.of(hidden, weight, bias, targets, shape)
        needs = [with_gradient and need for need in ctx.needs_input_grad]
        gradients = panels.Gradients.zeros(inputs, needs)
        found = []
        for panel in inputs.panels():
            raw, ids = inputs.raw_logits(panel), targets[panel]
            if any(needs):
                z = None if lse_coefficient is None else lse_coefficient[panel]
                found.append(panels.to_gradient(raw, ids, shape, coefficient[panel], z=z))
                gradients.add(panel, raw)
            else:
                found.append(panels.log_probabilities(raw, ids, shape))
        logp, lse = torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])
        ctx.mark_non_differentiable(logp, lse)
        ctx.gradients = gradients.as_given(hidden, weight, bias)
        total = (coefficient * logp).sum()
        return total if lse_coefficient is None else total + (lse_coefficient * lse.square()).sum(), logp, lse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: Tensor, *_: Tensor) -> tuple[Any, ...]:
        unscaled = d_total.device.type == "cpu" and d_total.item() == 1.0
        given = [g if g is None or unscaled else g * d_total.to(g.dtype) for g in ctx.gradients]
        return *given, None, None, None, None, None
