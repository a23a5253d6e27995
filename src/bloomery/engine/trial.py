"""Whether an architecture gives the same logits when its requests share a forward as when each is read whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bloomery.engine.adapters import Adapters
from bloomery.engine.batch import RaggedBatch
from bloomery.engine.lean import lean_forward
from bloomery.engine.protocol import Request, Sampling
from bloomery.engine.ragged import NAME, Forward, Part, own_forward
from bloomery.engine.running import Running
from bloomery.models.head import Head

KINDS = {"full_attention", "sliding_attention"}
"""Layer types masked by causality and a window; others (chunks, states) would not show in a short trial."""
TOLERANCE = {torch.float32: 1e-3}
LOOSE = 5e-2
"""Of 16-bit weights, whose products are rounded differently by shape."""


LEAN_TOLERANCE = {torch.float32: 1e-5}
"""Of hidden states that come from the same keys, values and weights, and differ by the order of sums alone."""


@torch.inference_mode()
def shared_forward(model: nn.Module, head: Head) -> Forward | None:
    """How the model reads tokens of many requests at once, and it attends through us from now on.

    None where that does not give its logits: then it is left as it was.
    """
    config: Any = model.config
    if getattr(model, "_is_stateful", False) or not set(getattr(config, "layer_types", None) or KINDS) <= KINDS:
        return None
    if not hasattr(model, "get_decoder") or getattr(config, "is_encoder_decoder", False):
        return None
    before, dtype = config._attn_implementation, next(model.parameters()).dtype
    try:
        wanted = _whole(model)
        model.set_attn_implementation(NAME)  # type: ignore[operator]
        both = _Both(own_forward(model), lean_forward(model), LEAN_TOLERANCE.get(dtype, LOOSE))
        got = _together(model, both, head)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, AssertionError, IndexError):
        got = None  # it calls attention in a way of its own
    limit = TOLERANCE.get(dtype, LOOSE)
    if got is not None and bool((got - wanted).abs().max() <= limit * wanted.abs().max().clamp(min=1.0)):
        return both.lean or both.own
    model.set_attn_implementation(before)  # type: ignore[operator]
    return None


class _Both:
    """Runs both forwards in each step, and forgets the lean one where it gives other hidden states."""

    def __init__(self, own: Forward, lean: Forward | None, limit: float) -> None:
        self.own, self.lean, self.limit = own, lean, limit

    def __call__(self, ids: Tensor, positions: Tensor, parts: Sequence[Part]) -> Tensor:
        """The own one's hidden states, whose keys and values stay."""
        got = None
        if self.lean is not None:
            try:
                got = self.lean(ids, positions, parts)
            except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, AssertionError, IndexError):
                self.lean = None  # not built as we know it
        want = self.own(ids, positions, parts)
        if got is not None and not bool((got - want).abs().max() <= self.limit * want.abs().max()):
            self.lean = None
        return want


def _prompts(model: nn.Module) -> list[list[int]]:
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    ids = torch.randint(0, vocabulary, (17,), generator=torch.Generator().manual_seed(0)).tolist()
    return [ids[:12], ids[12:]]


FOLLOW = (3, 1)
"""Tokens that are fed after the prompts, whatever the logits say."""


def _whole(model: nn.Module) -> Tensor:
    """Logits after each prompt and each following token [4, V], every row read whole."""
    device = next(model.parameters()).device
    rows = []
    for prompt in _prompts(model):
        for more in range(len(FOLLOW)):
            ids = torch.tensor([[*prompt, *FOLLOW[:more]]], device=device)
            rows.append(model(input_ids=ids, use_cache=False).logits[0, -1].float())
    return torch.stack(rows)


def _together(model: nn.Module, forward: Forward, head: Head) -> Tensor | None:
    """The same from two requests at once, the longer one read in chunks while the shorter one answers."""
    batch = RaggedBatch(model, forward, head, Adapters(model), rows=2, budget=1 << 30)
    batch.chunk = 7
    if len(batch.slots.shapes) != model.config.num_hidden_layers:  # type: ignore[union-attr]
        return None  # layers that call no registered attention keep their past elsewhere
    limit = len(FOLLOW) + 1
    rows = [Running(Request(prompt, Sampling()), lambda _: None, limit, frozenset()) for prompt in _prompts(model)]
    batch.admit(deque(rows))
    found: dict[tuple[int, int], Tensor] = {}
    for _ in range(8):
        told, logits = batch.advance()
        for row, one in zip(told, logits, strict=True):
            found[rows.index(row), len(row.ids)] = one
            row.ids.append(FOLLOW[len(row.ids) % len(FOLLOW)])
        wanted = [(n, more) for n in range(len(rows)) for more in range(len(FOLLOW))]
        if all(key in found for key in wanted):
            return torch.stack([found[key] for key in wanted])
    return None
