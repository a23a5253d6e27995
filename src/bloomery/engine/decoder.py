"""Next-token logits of a batch of prompts, one step at a time, with a cache or without."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bloomery.engine.cache import keep_rows, make_cache


def decoding_twin(model: nn.Module) -> nn.Module:
    """A second module tree over the *same* parameters and buffers, in eval mode, that attends as decoding needs.

    Attention is chosen per model, and training's takes document bounds where decoding has a cache and a
    mask. Weights that training changes in place are seen here at once.
    """
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    if getattr(twin.config, "_attn_implementation", "sdpa") not in ("sdpa", "eager"):
        usual = "sdpa" if getattr(twin, "_supports_sdpa", False) else "eager"
        twin.set_attn_implementation(usual)  # type: ignore[operator]
    return twin.eval()


class Decoder(Protocol):
    """A batch in flight: `start` once, then `advance` by one token a row; `keep` drops finished rows."""

    def start(self, prompts: Sequence[Sequence[int]], room: int) -> Tensor:
        """Logits [B, V] after the prompts; `room` is the most tokens that will follow."""
        ...

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits [B, V] after one more token int64[B] in each row."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with `rows` int64[kept] of the present batch only."""
        ...


class CachedDecoder:
    """Prompts padded on the left, keys and values cached."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        parameters = inspect.signature(model.forward).parameters
        self.last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def start(self, prompts: Sequence[Sequence[int]], room: int) -> Tensor:
        longest = max(len(prompt) for prompt in prompts)
        self.cache = make_cache(self.model.config, longest + room)
        ids, real = pad_left(prompts, longest)
        device = next(self.model.parameters()).device
        self.mask = torch.ones(len(prompts), longest + room, dtype=torch.bool, device=device)
        self.mask[:, :longest] = real.to(device)
        self.padded = not bool(real.all())
        positions = (self.mask[:, :longest].long().cumsum(-1) - 1).clamp(min=0)
        self.position, self.length = positions[:, -1:], longest
        return self._forward(ids.to(device), positions)

    def advance(self, tokens: Tensor) -> Tensor:
        self.position, self.length = self.position + 1, self.length + 1
        return self._forward(tokens[:, None], self.position)

    def keep(self, rows: Tensor) -> None:
        keep_rows(self.cache, rows)
        self.mask, self.position = self.mask[rows], self.position[rows]
        self.padded = not bool(self.mask[:, : self.length].all())

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        # Without padding no mask is built, and grouped attention reads the cache without copying it per head.
        mask = self.mask[:, : self.length] if self.padded else None
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            **self.last_only,
        )
        logits: Tensor = out.logits[:, -1]
        return logits


class PlainDecoder:
    """Every step reads the whole row again: slow, right for any causal model. Prompts of a batch have one length."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def start(self, prompts: Sequence[Sequence[int]], room: int) -> Tensor:
        self.ids = torch.tensor([list(p) for p in prompts], device=next(self.model.parameters()).device)
        return self._forward()

    def advance(self, tokens: Tensor) -> Tensor:
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
        return self._forward()

    def keep(self, rows: Tensor) -> None:
        self.ids = self.ids[rows]

    def _forward(self) -> Tensor:
        logits: Tensor = self.model(input_ids=self.ids, use_cache=False).logits[:, -1]
        return logits


def pad_left(prompts: Sequence[Sequence[int]], longest: int) -> tuple[Tensor, Tensor]:
    """(ids int64[B, longest], real bool[B, longest]); padding holds id 0, which nothing attends to."""
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    real = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.as_tensor(prompt, dtype=torch.long)
        real[row, longest - len(prompt) :] = True
    return ids, real


@torch.inference_mode()
def cache_agrees(model: nn.Module) -> bool:
    """Whether cached, left-padded decoding gives the logits of reading each row whole.

    Some architectures carry a state in which padding leaves a trace, or keep their cache elsewhere.
    """
    if getattr(model, "_is_stateful", False) or "past_key_values" not in inspect.signature(model.forward).parameters:
        return False
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, (9,), generator=draw).tolist()
    short, long, follow = ids[:2], ids[2:7], torch.tensor(ids[7:])
    cached, whole = CachedDecoder(model), PlainDecoder(model)
    cached.start([short, long], 1)
    got = cached.advance(follow.to(cached.mask.device)).float()
    rows = [[*short, int(follow[0])], [*long, int(follow[1])]]
    want = torch.cat([whole.start([row], 0) for row in rows]).float()
    tolerance = 1e-3 if next(model.parameters()).dtype == torch.float32 else 5e-2
    return bool((got - want).abs().max() <= tolerance * want.abs().max().clamp(min=1.0))
