"""Continuous batching: requests come and go between steps, and each step brings every running one a token further."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bloomery.engine.protocol import Sampling
from bloomery.engine.running import Running
from bloomery.engine.sampler import choose, temperatures


class Backend(Protocol):
    """Reads prompts and gives logits: `ragged.py`'s for architectures that attend through us, else `padded.py`'s."""

    running: list[Running]

    def admit(self, waiting: deque[Running]) -> None:
        """Take in from the front of `waiting` what there is room for."""
        ...

    def advance(self) -> tuple[list[Running], Tensor]:
        """Bring the running requests further: those that may have a token now, and their logits [n, V]."""
        ...

    def drop(self, request: Running) -> None:
        """Free what a request holds."""
        ...

    def fits(self, tokens: int) -> bool:
        """Whether so many tokens of one request can be held at all."""
        ...

    def forget(self) -> None:
        """Keep nothing of requests that have ended: the weights are others from now on."""
        ...


class Scheduler:
    """Waiting and running requests of one model. Any thread may append to `coming`; all else is the engine's."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.coming: deque[Running] = deque()
        self.waiting: deque[Running] = deque()

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.coming or self.waiting or self.backend.running)

    @property
    def queued(self) -> int:
        """Requests that have no place yet."""
        return len(self.coming) + len(self.waiting)

    @torch.inference_mode()
    def step(self) -> None:
        """Let go of what was cancelled, take in what fits, and bring all running requests further."""
        self._collect()
        self._sweep()
        self.backend.admit(self.waiting)
        if not self.backend.running:
            return
        rows, logits = self.backend.advance()
        if rows:
            _take(rows, logits)
            # the last place first: no row then moves into a hole
            for row in reversed([row for row in rows if row.ended]):
                self.backend.drop(row)

    def abandon(self, error: str) -> None:
        """Tell every request that it has failed. What a failed step left behind is not touched: use another one."""
        self._collect()
        for row in (*self.backend.running, *self.waiting):
            row.end("error", error)
        self.waiting.clear()
        self.backend.running.clear()

    def _collect(self) -> None:
        while self.coming:
            self.waiting.append(self.coming.popleft())

    def _sweep(self) -> None:
        for row in [row for row in self.backend.running if row.cancelled]:
            self.backend.drop(row)
            row.end("cancelled")
        if any(row.cancelled for row in self.waiting):
            kept = [row for row in self.waiting if not row.cancelled]
            gone = [row for row in self.waiting if row.cancelled]
            self.waiting.clear()
            self.waiting.extend(kept)
            for row in gone:
                row.end("cancelled")


def _take(rows: list[Running], logits: Tensor) -> None:
    """Choose a token for each row of logits [n, V] and tell it."""
    if any(row.edits for row in rows):
        logits = logits.float()
    for number, row in enumerate(rows):
        if row.edits:
            row.edit(logits[number])
    samplings = [row.request.sampling for row in rows]
    numbers = np.array([row.request.number for row in rows], np.int64)
    steps = np.array([len(row.ids) for row in rows], np.int64)
    tokens, logprobs = choose(logits, samplings, numbers, steps)
    for number, row in enumerate(rows):
        if row.matcher is not None and (kept := row.within(int(tokens[number]))) != int(tokens[number]):
            scores = logits[number].float() / temperatures(samplings[number : number + 1], logits.device)
            tokens[number], logprobs[number] = kept, scores[kept] - scores.logsumexp(-1)
    tops = _tops(logits, samplings)
    for row, token, logprob, top in zip(rows, tokens.tolist(), logprobs.tolist(), tops, strict=True):
        row.take(token, logprob, top)


def _tops(logits: Tensor, samplings: list[Sampling]) -> list[tuple[tuple[int, float], ...]]:
    """The most probable tokens of each row with their log-probabilities, so many as it asks for."""
    told: list[tuple[tuple[int, float], ...]] = [() for _ in samplings]
    heat = temperatures(samplings, logits.device)
    for row in (row for row, sampling in enumerate(samplings) if sampling.top_logprobs):
        scores = logits[row].float() / heat[row]
        best, ids = (scores - scores.logsumexp(-1)).topk(min(samplings[row].top_logprobs, len(scores)))
        told[row] = tuple(zip(ids.tolist(), best.tolist(), strict=True))
    return told
