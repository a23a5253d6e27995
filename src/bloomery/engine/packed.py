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

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""x [T, H], weight [O, H], bias [O] or None -> [T, O]."""
ROOM = 2 << 30
"""Most bytes of copies that a model gets; weights beyond them are read where they are."""
LARGE = 1 << 19
"""Numbers of a weight from which one row in fp32 is multiplied twice: 744 us plain, 149 as two rows (896 to 4864)."""


class Packed:
    """A `Product`. A weight is copied when it is first used, and again once it has been changed in place."""

    def __init__(self, dtype: torch.dtype, room: int = ROOM) -> None:
        self.dtype, self.room = dtype, room
        self._copies: dict[int, tuple[Tensor, tuple[int, int], Tensor | None]] = {}
        """By a weight's id: itself, which state of it was copied, the copy."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x [T, H], weight [O, H], bias [O] or None -> [T, O], without gradients."""
        alone = len(x) == 1 and self.dtype == torch.float32
        usable = weight.dtype == self.dtype and len(x) > 0 and (not alone or weight.numel() >= LARGE)
        copy = self._copy(weight) if usable else None
        if copy is None:
            return F.linear(x, weight, bias)
        rows = x.repeat(2, 1) if alone else x
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, copy, bias, "none", [], "")
        return out[: len(x)]

    def _copy(self, weight: Tensor) -> Tensor | None:
        of, copied, copy = self._copies.get(id(weight), (None, (-1, -1), None))
        state = weight._version, weight.data_ptr()
        if of is weight and (copy is None or copied == state):
            return copy
        if of is None:
            self.room -= weight.nbytes
        copy = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 64) if self.room >= 0 else None
        self._copies[id(weight)] = (weight, state, copy)
        return copy


def _count(optimiser: torch.optim.Optimizer, *_: Any) -> None:
    """Fused optimisers change weights without counting it (torch 2.13), and a copy goes by that count."""
    for group in optimiser.param_groups:
        torch.autograd.graph.increment_version(group["params"])


register_optimizer_step_post_hook(_count)


def product_for(weight: Tensor) -> Product:
    """How a model with such weights multiplies: with copies on a CPU where oneDNN has them, else as torch does."""
    mkldnn, dtype = torch.backends.mkldnn, weight.dtype
    if weight.device.type != "cpu" or weight.is_inference() or not (mkldnn.is_available() and mkldnn.enabled):
        return F.linear
    fast = dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return Packed(dtype) if fast else F.linear


def install(model: nn.Module, product: Product) -> None:
    """Let the linear layers of a module tree multiply so from now on, those in adapters too, where no gradient is."""
    for module in model.modules():
        if type(module) is nn.Linear and product is not F.linear:
            module.forward = partial(_multiplied, module, product)  # type: ignore[method-assign]


def _multiplied(module: nn.Linear, product: Product, x: Tensor) -> Tensor:
    """x [..., H] -> [..., O]."""
    own: dict[str, Any] = module._parameters  # by the module's attributes it takes as long as a small product
    weight, bias = own["weight"], own["bias"]
    if torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    if x.dim() == 2:
        return product(x, weight, bias)
    return product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))
