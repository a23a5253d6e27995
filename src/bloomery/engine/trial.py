"""Whether an architecture gives the same logits when its requests share a forward as when each is read whole."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import nn

from bloomery.engine.adapters import Adapters
from bloomery.engine.batch import RaggedBatch
from bloomery.engine.protocol import Request, Sampling
from bloomery.engine.ragged import NAME
from bloomery.engine.running import Running
from bloomery.models.head import Head

KINDS = {"full_attention", "sliding_attention"}
"""Layer types masked by causality and a window; others (chunks, states) would not show in a short trial."""
TOLERANCE = {torch.float32: 1e-3}
LOOSE = 5e-2
"""Of 16-bit weights, whose products are rounded differently by shape."""


@torch.inference_mode()
def ragged_agrees(model: nn.Module, head: Head) -> bool:
    """Try the model with our attention, and leave it so where it is right; else as it was, and False."""
    config: Any = model.config
    if getattr(model, "_is_stateful", False) or not set(getattr(config, "layer_types", None) or KINDS) <= KINDS:
        return False
    if not hasattr(model, "get_decoder") or getattr(config, "is_encoder_decoder", False):
        return False
    before = config._attn_implementation
    try:
        wanted = _whole(model)
        model.set_attn_implementation(NAME)  # type: ignore[operator]
        got = _together(model, head)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, AssertionError, IndexError):
        got = None  # it calls attention in a way of its own
    limit = TOLERANCE.get(next(model.parameters()).dtype, LOOSE)
    if got is not None and bool((got - wanted).abs().max() <= limit * wanted.abs().max().clamp(min=1.0)):
        return True
    model.set_attn_implementation(before)  # type: ignore[operator]
    return False


def _prompts(model: nn.Module) -> list[list[int]]:
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    ids = torch.randint(0, vocabulary, (17,), generator=torch.Generator().manual_seed(0)).tolist()
    return [ids[:12], ids[12:]]


FOLLOW = (3, 1)
"""Tokens that are fed after the prompts, whatever the logits say."""


def _whole(model: nn.Module) -> torch.Tensor:
    """Logits after each prompt and each following token [4, V], every row read whole."""
    device = next(model.parameters()).device
    rows = []
    for prompt in _prompts(model):
        for more in range(len(FOLLOW)):
            ids = torch.tensor([[*prompt, *FOLLOW[:more]]], device=device)
            rows.append(model(input_ids=ids, use_cache=False).logits[0, -1].float())
    return torch.stack(rows)


def _together(model: nn.Module, head: Head) -> torch.Tensor | None:
    """The same from two requests at once, the longer one read in chunks while the shorter one answers."""
    batch = RaggedBatch(model, head, Adapters(model), rows=2, budget=1 << 30, chunk=7)
    if len(batch.slots.shapes) != model.config.num_hidden_layers:  # type: ignore[union-attr]
        return None  # layers that call no registered attention keep their past elsewhere
    limit = len(FOLLOW) + 1
    rows = [Running(Request(prompt, Sampling()), lambda _: None, limit, frozenset()) for prompt in _prompts(model)]
    batch.admit(deque(rows))
    found: dict[tuple[int, int], torch.Tensor] = {}
    for _ in range(8):
        told, logits = batch.advance()
        for row, one in zip(told, logits, strict=True):
            found[rows.index(row), len(row.ids)] = one
            row.ids.append(FOLLOW[len(row.ids) % len(FOLLOW)])
        wanted = [(n, more) for n in range(len(rows)) for more in range(len(FOLLOW))]
        if all(key in found for key in wanted):
            return torch.stack([found[key] for key in wanted])
    return None
