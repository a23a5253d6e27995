"""Linear layers over copies of their weights that lie as oneDNN reads them.

The usual product brings the whole weight into that order again for each handful of rows. How many times faster one
with a copy is (2 threads of an EPYC with AVX-512 bf16), by rows:

    rows                        1      2      4     16     64    256
    fp32, 256 to 688          0.5           1.6    1.2    1.2    1.2
    fp32, 2048 to 8192        1.8    3.2    9.2    4.6    2.1    1.6
    fp32, 256 to 8192         2.5           5.6    2.3    1.6    1.4
    bf16, 256 to 688          1.5           1.5    1.3    1.3    1.1
    bf16, 2048 to 8192        3.4    2.8    2.1    1.8    1.1    1.1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

Then = Literal["none", "swish"]
Weights = tuple[Tensor, ...]
ROOM = 2 << 30
"""Most bytes of copies that a model gets; weights beyond them are read where they are."""
LARGE = 1 << 19
"""Numbers of a weight from which one row in fp32 is multiplied twice: 744 us plain, 149 as two rows (896 to 4864)."""


class Packed:
    """A product. A weight is copied when it is first used, and again once it has been changed in place."""

    def __init__(self, dtype: torch.dtype, room: int = ROOM) -> None:
        self.dtype, self.room = dtype, room
        self._copies: dict[tuple[int, ...], tuple[Weights, list[tuple[int, int]], Weights, Tensor | None]] = {}
        """By the ids of weights that are copied as one: themselves, which state of them was copied, what they held then
        (so that other data of theirs lies elsewhere), the copy."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None, then: Then = "none") -> Tensor:
        """x [T, H], weight [O, H], bias [O] or None -> [T, O] after the function `then`, without gradients."""
        out = self._multiplied(x, (weight,), bias, then)
        if out is not None:
            return out
        plain = F.linear(x, weight, bias)
        return plain if then == "none" else F.silu(plain)

    def joint(self, x: Tensor, weights: Weights, biases: Sequence[Tensor | None]) -> Tensor | None:
        """x [T, H], weights [O_i, H] -> [T, sum of O_i], side by side; None where they are better multiplied alone."""
        given = [bias for bias in biases if bias is not None]
        if given and len(given) < len(weights):
            return None
        return self._multiplied(x, weights, torch.cat(given) if given else None, "none")

    def _multiplied(self, x: Tensor, weights: Weights, bias: Tensor | None, then: Then) -> Tensor | None:
        alone = len(x) == 1 and self.dtype == torch.float32
        if alone and sum(weight.numel() for weight in weights) < LARGE:
            return None
        copy = self._copy(weights) if len(x) and all(weight.dtype == self.dtype for weight in weights) else None
        if copy is None:
            return None
        rows = x.repeat(2, 1) if alone else x
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, copy, bias, then, [], "")
        return out[: len(x)] if alone else out

    def _copy(self, weights: Weights) -> Tensor | None:
        key, state = tuple(map(id, weights)), [(weight._version, weight.data_ptr()) for weight in weights]
        of, copied, held, copy = self._copies.get(key, (None, None, (), None))
        if of is not None and (copy is None or copied == state):
            return copy
        size = sum(weight.nbytes for weight in weights) if of is None else 0  # what is copied again has its room
        copy = None
        if size <= self.room:
            self.room -= size
            held = tuple(weight.detach() for weight in weights)
            copy = torch.ops.mkldnn._reorder_linear_weight(held[0] if len(held) == 1 else torch.cat(held), 64)
        self._copies[key] = (weights, state, held, copy)
        return copy


def _count(optimiser: torch.optim.Optimizer, *_: Any) -> None:
    """Fused optimisers change weights without counting it (torch 2.13), and a copy goes by that count."""
    for group in optimiser.param_groups:
        torch.autograd.graph.increment_version(group["params"])


register_optimizer_step_post_hook(_count)


def product_for(weight: Tensor) -> Packed | None:
    """What a model with such weights multiplies with on a CPU where oneDNN has copies; else None, it is torch's."""
    mkldnn, dtype = torch.backends.mkldnn, weight.dtype
    if weight.device.type != "cpu" or weight.is_inference() or not (mkldnn.is_available() and mkldnn.enabled):
        return None
    fast = dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return Packed(dtype) if fast else None


def install(model: nn.Module, product: Packed | None) -> None:
    """Let the linear layers of a module tree multiply so from now on, those in adapters too, where no gradient is."""
    for module in model.modules():
        if type(module) is nn.Linear and product is not None:
            module.forward = _Multiplied(module, product)  # type: ignore[assignment,method-assign]


def joint(layers: Sequence[nn.Module], x: Tensor) -> Tensor | None:
    """What several layers make of x [T, H], side by side, in one product; None where they have no copies for it."""
    ways = [way for layer in layers if (way := _way(layer)) is not None]
    if len(ways) < len(layers) or any(way.product is not ways[0].product for way in ways):
        return None
    weights = tuple(way.own["weight"] for way in ways)
    return ways[0].product.joint(x, weights, [way.own["bias"] for way in ways])


def swish(layer: nn.Module, x: Tensor) -> Tensor | None:
    """The swish of what a layer makes of x [T, H], within its product; None where the layer has no copy for it."""
    way = _way(layer)
    return None if way is None else way.product(x, way.own["weight"], way.own["bias"], "swish")


def hooked(layer: nn.Module) -> bool:
    """Whether something else is done to what goes into a layer, or comes out of it."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _way(layer: nn.Module) -> _Multiplied | None:
    way = layer.__dict__.get("forward")
    return way if isinstance(way, _Multiplied) and not hooked(layer) else None


class _Multiplied:
    """The forward of a linear layer. It holds what the layer does and not the layer, which would then hold itself: what
    was there when a server began is never looked through for such rings, and would stay when its model is changed."""

    def __init__(self, module: nn.Linear, product: Packed) -> None:
        self.own: dict[str, Any] = module._parameters
        self.product = product

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., H] -> [..., O]."""
        weight, bias = self.own["weight"], self.own["bias"]
        if torch.is_grad_enabled():
            return F.linear(x, weight, bias)
        if x.dim() == 2:
            return self.product(x, weight, bias)
        return self.product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))
