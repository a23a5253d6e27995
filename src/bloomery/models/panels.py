"""The arithmetic of the head, a panel of rows at a time; `head.py` makes autograd functions of it.

A panel is up to 1024 rows: its logits [r, V] are one large matrix product in the compute dtype, and become, in
place, the gradient of the logits. Softmax is in fp32, over a few rows at a time: fp32 buffers then
stay in cache and are reused. Fresh buffers above 32 MB cost more than the arithmetic on them (page
faults: 15 ms against 2 ms to convert 1024 x 8192 numbers on one thread).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PANEL_ROWS = 1024
PANEL_BYTES = 128 * 2**20
ROW_BYTES = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}
"""fp32 bytes of the rows that are in softmax at once: what stays in cache on a CPU, what fills a GPU."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Logit scale, soft-cap, and the dtype of the matrix products."""

    scale: float
    softcap: float | None
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Inputs:
    """The head's inputs in the compute dtype: hidden [n, H], weight [V, H], bias [V] or None."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    buffer: Tensor

    @staticmethod
    def of(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, shape: Shape) -> Inputs:
        rows = max(1, min(PANEL_ROWS, len(targets), PANEL_BYTES // (len(weight) * shape.dtype.itemsize)))
        return Inputs(
            hidden.detach().to(shape.dtype),
            weight.detach().to(shape.dtype),
            None if bias is None else bias.detach().to(shape.dtype),
            hidden.new_empty(rows, len(weight), dtype=shape.dtype),
        )

    @property
    def logit_bytes(self) -> int:
        """What the logits of all rows would take in the compute dtype."""
        return len(self.hidden) * len(self.weight) * self.weight.dtype.itemsize

    def panels(self) -> Iterator[slice]:
        """Consecutive slices of rows, at least one (empty for no rows)."""
        step = len(self.buffer)
        for start in range(0, max(1, len(self.hidden)), max(1, step)):
            yield slice(start, min(start + step, len(self.hidden)))

    def raw_logits(self, panel: slice, fresh: bool = False) -> Tensor:
        """hidden @ weight.T + bias of a panel, [r, V]; in the shared buffer unless `fresh`."""
        rows = self.hidden[panel]
        out = torch.empty_like(self.buffer[: len(rows)]) if fresh else self.buffer[: len(rows)]
        if self.bias is None:
            return torch.mm(rows, self.weight.t(), out=out)
        return torch.addmm(self.bias, rows, self.weight.t(), out=out)


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients under way: hidden [n, H] in the compute dtype; weight [V, H] and bias [V] summed in fp32."""

    inputs: Inputs
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @staticmethod
    def zeros(inputs: Inputs, needs: Sequence[bool]) -> Gradients:
        hidden = torch.empty_like(inputs.hidden) if needs[0] else None
        weight = torch.zeros_like(inputs.weight, dtype=torch.float32) if needs[1] else None
        bias = None if inputs.bias is None or not needs[2] else torch.zeros_like(inputs.bias, dtype=torch.float32)
        return Gradients(inputs, hidden, weight, bias)

    def add(self, panel: slice, d_logits: Tensor) -> None:
        """Take in the gradient of a panel's raw logits, [r, V]."""
        if self.hidden is not None:
            torch.mm(d_logits, self.inputs.weight, out=self.hidden[panel])
        if self.weight is not None:
            self.weight.add_(torch.mm(d_logits.t(), self.inputs.hidden[panel]))
        if self.bias is not None:
            self.bias.add_(d_logits.sum(0, dtype=torch.float32))

    def as_given(self, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        """The three gradients in the dtypes of the tensors they belong to."""
        pairs = zip((self.hidden, self.weight, self.bias), given, strict=True)
        return tuple(None if g is None or t is None else g.to(t.dtype) for g, t in pairs)


def finish(raw: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Raw logits, fp32, to logits: scaled, then softcap * tanh(logits / softcap). Works in place where no graph is."""
    if torch.is_grad_enabled() and raw.requires_grad:
        raw = raw * scale
        return raw if softcap is None else torch.tanh(raw / softcap) * softcap
    if scale != 1.0:
        raw.mul_(scale)
    return raw if softcap is None else raw.div_(softcap).tanh_().mul_(softcap)


def log_probabilities(
    raw: Tensor, targets: Tensor, shape: Shape, temperature: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Raw logits [r, V], targets [r], temperatures fp32[r] -> logp and lse, fp32[r]; `raw` is left as it is."""
    found = [(logp, lse) for _, _, _, logp, lse in _softmax_rows(raw, targets, shape, temperature)]
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])


def to_gradient(
    raw: Tensor,
    targets: Tensor,
    shape: Shape,
    d_logp: Tensor,
    d_lse: Tensor | None = None,
    z: Tensor | None = None,
    temperature: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Overwrite raw logits [r, V] by the gradient of sum(d_logp * logp + d_lse * lse + z * lse ** 2) in them.

    Returns logp and lse, fp32[r]. With p the softmax and t the target, d logp = 1[t] - p and d lse = p; where logits
    are divided by a `temperature` fp32[r], so is their gradient.
    """
    found = []
    for rows, capped, shares, logp, lse in _softmax_rows(raw, targets, shape, temperature):
        on_target = d_logp[rows]
        on_lse = torch.zeros_like(lse) if d_lse is None else d_lse[rows].clone()
        if z is not None:
            on_lse += 2 * z[rows] * lse
        # 1 - p of a confident target loses its digits in bf16, and in fp32 as a difference: expm1 keeps them
        at_target = on_lse * logp.exp() - on_target * logp.expm1()
        shares.mul_((shape.scale * (on_lse - on_target))[:, None])
        shares.scatter_(1, targets[rows, None], (shape.scale * at_target)[:, None])
        if temperature is not None:
            shares.div_(temperature[rows, None])
            capped.mul_(temperature[rows, None])
        if shape.softcap is not None:
            shares.mul_(capped.div_(shape.softcap).square_().neg_().add_(1))
        raw[rows].copy_(shares)
        found.append((logp, lse))
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])


def _softmax_rows(
    raw: Tensor, targets: Tensor, shape: Shape, temperature: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor]]:
    """Yield (rows, logits, softmax, logp, lse) in fp32 for a few rows at a time; both buffers are reused."""
    height, width = raw.shape
    step = max(1, min(height, ROW_BYTES.get(raw.device.type, 2**28) // (4 * width)))
    scores, shares = (raw.new_empty(step, width, dtype=torch.float32) for _ in range(2))
    for start in range(0, max(1, height), step):
        rows = slice(start, min(start + step, height))
        x, p = scores[: rows.stop - start], shares[: rows.stop - start]
        finish(x.copy_(raw[rows]), shape.scale, shape.softcap)
        if temperature is not None:
            x.div_(temperature[rows, None])
        torch.softmax(x, -1, out=p)
        lse = x.amax(-1) - p.amax(-1).log()  # the largest share is exp(largest logit - lse)
        yield rows, x, p, x.gather(1, targets[rows, None])[:, 0] - lse, lse
