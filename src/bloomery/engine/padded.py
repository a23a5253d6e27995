"""Running requests of an architecture that does not attend through us: batches padded on the left, begun together."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn

from bloomery.engine.decoder import CachedDecoder, Decoder, PlainDecoder
from bloomery.engine.running import Running

COMPACT_AT = 1 / 8
"""Finished rows leave the batch once they are this share of it: leaving copies the cache, staying costs arithmetic."""


class PaddedBatch:
    """A `Backend` of one batch at a time: `rows` at most, and `tokens` of padded size."""

    def __init__(self, model: nn.Module, cached: bool, rows: int, tokens: int) -> None:
        self.model, self.cached, self.rows, self.tokens = model, cached, rows, tokens
        self.device = next(model.parameters()).device
        self.running: list[Running] = []
        self._batch: list[Running] = []
        self._decoder: Decoder | None = None

    def fits(self, tokens: int) -> bool:
        """Whether so many tokens of one request can be held at all."""
        return tokens <= self.tokens

    def admit(self, waiting: deque[Running]) -> None:
        """Begin a batch when the last one is done: of prompts of one length where nothing is cached."""
        if self.running:
            return
        longest, kept = 0, deque[Running]()
        while waiting and len(self.running) < self.rows:
            request = waiting.popleft()
            grown = max(longest, len(request.prompt) + request.limit)
            alike = self.cached or not self.running or len(request.prompt) == len(self.running[0].prompt)
            if alike and (not self.running or grown * (len(self.running) + 1) <= self.tokens):
                longest = grown
                request.start()
                self.running.append(request)
            else:
                kept.append(request)
        waiting.extendleft(reversed(kept))
        self._batch, self._decoder = [*self.running], None

    def advance(self) -> tuple[list[Running], Tensor]:
        """One forward: the prompts of a new batch, or one token more of each row."""
        if self._decoder is None:
            self._decoder = CachedDecoder(self.model) if self.cached else PlainDecoder(self.model)
            found = self._decoder.start([r.prompt.tolist() for r in self._batch], max(r.limit for r in self._batch))
        else:
            self._compact(self._decoder)
            # Rows that have ended ride along until they are an eighth; what they are fed does not matter.
            last = [row.ids[-1] if row.ids else 0 for row in self._batch]
            found = self._decoder.advance(torch.tensor(last, device=self.device))
        live = [number for number, row in enumerate(self._batch) if not row.ended and row in self.running]
        return [self._batch[i] for i in live], found[torch.tensor(live, device=found.device)]

    def drop(self, request: Running) -> None:
        """Let a request go; its row leaves the batch later."""
        self.running.remove(request)

    def forget(self) -> None:
        """Nothing is kept of requests that have ended."""

    def _compact(self, decoder: Decoder) -> None:
        live = [number for number, row in enumerate(self._batch) if row in self.running]
        if len(live) <= (1 - COMPACT_AT) * len(self._batch):
            decoder.keep(torch.tensor(live, device=self.device))
            self._batch = [self._batch[i] for i in live]
