"""The engine in this process: continuous batching over a transformers causal LM, and scoring in one forward."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bloomery.core.errors import InputError
from bloomery.core.rows import Floats, TokenRow
from bloomery.engine.adapters import Adapters
from bloomery.engine.batch import RaggedBatch
from bloomery.engine.decoder import cache_agrees, decoding_twin
from bloomery.engine.grammar import Grammars
from bloomery.engine.packed import install, product_for
from bloomery.engine.padded import PaddedBatch
from bloomery.engine.protocol import Answer, Completion, Request, Sampling, Token, TooFewTokens
from bloomery.engine.running import Running
from bloomery.engine.scheduler import Scheduler
from bloomery.engine.trial import shared_forward
from bloomery.models.head import token_logprobs
from bloomery.models.load import Loaded

BATCH_ROWS = {"cpu": 64, "cuda": 256}
"""Rows answered at once, by device: a CPU thread gives 1,630 tokens/s at 64 and 1,200 at 128 (ember, 20 new tokens)."""
BATCH_TOKENS = 32_768
"""Most padded tokens that a batch holds where an architecture has no rows of its own."""
MEMORY = {"cpu": 2 << 30, "cuda": 16 << 30}
"""Most bytes of keys and values, by device, where nothing else is said."""
SCORE_TOKENS = {"cpu": 2048, "cuda": 16_384}
"""Most tokens in one scoring forward, by device: a CPU does 7,000 tokens/s at 2,048 and 5,000 at 8,192 (ember)."""


class NativeEngine:
    """Answers and scores with the weights of `loaded`, shared with whoever trains them.

    `memory` in bytes bounds keys and values, `batch_rows` the requests that are answered at once. With `keep` the next
    turn of a conversation goes on from the one before it, and is not read again; whoever changes the weights then has
    to call `forget`.
    """

    def __init__(
        self, loaded: Loaded, *, batch_rows: int | None = None, memory: int | None = None, keep: bool = False
    ) -> None:
        self.keep = keep
        self.model, self.tokenizer = decoding_twin(loaded.model), loaded.tokenizer
        self.head = replace(loaded.head, linear=self.model.get_output_embeddings())  # type: ignore[operator]
        install(self.model, product_for(self.head.weight))
        self.device = next(self.model.parameters()).device
        kind = self.device.type
        self.batch_rows = batch_rows or BATCH_ROWS.get(kind, BATCH_ROWS["cuda"])
        self.memory = memory or MEMORY.get(kind, MEMORY["cuda"])
        config: Any = loaded.config
        self._context = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self.stop_ids = end_ids(self.model, config)
        self.adapters = Adapters(self.model)
        self.forward = shared_forward(self.model, self.head)
        self.cached = self.ragged or cache_agrees(self.model)
        self.told: Callable[[int, int], None] = lambda done, of: None
        """Called while rows are answered or read: how many are over, of how many."""
        self._grammars: Grammars | None = None
        self._idle: Scheduler | None = None

    @property
    def context(self) -> int:
        """Most tokens a row, or a prompt with its answer, may have."""
        return self._context

    @property
    def ragged(self) -> bool:
        """Whether requests share forwards, and come and go between them."""
        return self.forward is not None

    def scheduler(self) -> Scheduler:
        """A fresh set of requests; their keys and values live as long as it does."""
        if self.forward is not None:
            given = (self.model, self.forward, self.head, self.adapters, self.batch_rows, self.memory)
            return Scheduler(RaggedBatch(*given, self.keep))
        return Scheduler(PaddedBatch(self.model, self.cached, self.batch_rows, BATCH_TOKENS))

    def forget(self) -> None:
        """Go on from nothing that has ended: the weights have changed."""
        if self._idle is not None:
            self._idle.backend.forget()

    def accept(
        self, request: Request, told: Callable[[Token], None], fits: Callable[[int], bool], name: str = "the prompt"
    ) -> Running:
        """A request ready to wait its turn. Raises `InputError` where it cannot be answered."""
        length, sampling = len(request.prompt), request.sampling
        if not 0 < length < self.context:
            raise InputError(
                f"{name} has {length:,} tokens; the context holds {self.context:,} with the answer",
                fix="shorten the prompt" if length else "give it at least one token",
            )
        limit = min(sampling.max_new_tokens, self.context - length)
        if not fits(length + limit):
            raise InputError(
                f"{name} has {length:,} tokens, with the answer {length + limit:,}: more than the memory for keys and "
                f"values holds",
                fix="ask for fewer tokens, or give the engine more memory",
            )
        self.adapters.check(request.adapter)
        stops = self.stop_ids if sampling.stop_ids is None else sampling.stop_ids
        matcher = self.grammars.matcher(sampling.grammar) if sampling.grammar is not None else None
        if matcher is not None and matcher.needed > limit:
            raise TooFewTokens(limit, matcher.needed)
        return Running(request, told, limit, frozenset(stops), matcher)

    @property
    def grammars(self) -> Grammars:
        """Compiles grammars for this model's tokenizer."""
        if self._grammars is None:
            vocabulary = self.head.weight.shape[0]
            self._grammars = Grammars(self.tokenizer, vocabulary, self.stop_ids)
        return self._grammars

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, adapter: str = "") -> list[Completion]:
        """One answer for each prompt, in order; an answer is cut where the context ends.

        Equal prompts are read once and answered independently. Raises `InputError` for a prompt that is empty or
        leaves no room for an answer.
        """
        return self.answer([Request(prompt, sampling, adapter, number) for number, prompt in enumerate(prompts)])

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order: `generate` where each is sampled in its own way."""
        scheduler = self._idle or self.scheduler()
        self._idle = None
        answers = [_Timed() for _ in requests]
        rows = [
            self.accept(request, answer.take, scheduler.backend.fits, f"prompt {i}")
            for i, (request, answer) in enumerate(zip(requests, answers, strict=True))
        ]
        # Longest first: memory runs out at once or never, and the last rows to answer are short.
        scheduler.waiting.extend(sorted(rows, key=lambda row: -len(row.prompt)))
        while scheduler.busy:
            scheduler.step()
            self.told(len(rows) - scheduler.queued - len(scheduler.backend.running), len(rows))
        self._idle = scheduler  # its memory is there already for the next call
        return [
            one.completion(one.last - row.began, one.first - row.began) for one, row in zip(answers, rows, strict=True)
        ]

    @torch.inference_mode()
    def score(self, rows: Sequence[TokenRow], temperature: float = 1.0) -> list[Floats]:
        """float32[T] for each row, in order: log-probability of `ids[t]` given `ids[:t]`; 0 at t = 0.

        Logits are divided by `temperature`, as where answers are sampled.
        """
        found: dict[int, Floats] = {}
        for batch, hidden, real in self._read([row.ids for row in rows], [f"row `{row.row_id}`" for row in rows]):
            ids = torch.cat([torch.from_numpy(rows[i].ids[1:]) for i in batch]).long().to(self.device)
            heat = None if temperature == 1 else torch.full(ids.shape, temperature, device=self.device)
            logp, _ = token_logprobs(hidden[:, :-1][real[:, 1:]], self.head, ids, heat)
            pieces = logp.float().cpu().split([len(rows[i]) - 1 for i in batch])
            for i, piece in zip(batch, pieces, strict=True):
                found[i] = np.concatenate([np.zeros(1, np.float32), piece.numpy()])
        return [found[i] for i in range(len(rows))]

    @torch.inference_mode()
    def embed(self, texts: Sequence[Sequence[int]]) -> list[Floats]:
        """float32[H] for each text: the mean of its last hidden states, of length 1."""
        found: dict[int, Floats] = {}
        for batch, hidden, real in self._read([np.asarray(t) for t in texts], [f"text {i}" for i in range(len(texts))]):
            mean = (hidden.float() * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            found.update(zip(batch, nn.functional.normalize(mean, dim=-1).cpu().numpy(), strict=True))
        return [found[i] for i in range(len(texts))]

    def _read(self, rows: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """(row numbers, last hidden states [B, T, H], which tokens are real bool[B, T]) of batches like in length."""
        lengths = [len(row) for row in rows]
        for name, length in zip(names, lengths, strict=True):
            if not 0 < length <= self.context:
                raise InputError(f"{name} has {length:,} tokens; the context holds 1 to {self.context:,}")
        most = SCORE_TOKENS.get(self.device.type, SCORE_TOKENS["cuda"])
        decoder: Any = self.model.get_decoder()  # type: ignore[operator]
        over = 0
        for batch in _cut(sorted(range(len(rows)), key=lengths.__getitem__), lengths, most):
            longest = max(lengths[i] for i in batch)
            ids = torch.zeros(len(batch), longest, dtype=torch.long)
            for place, i in enumerate(batch):
                ids[place, : lengths[i]] = torch.from_numpy(np.asarray(rows[i], np.int64))
            # Padding stands on the right, where causal attention never looks: no mask is needed.
            hidden = decoder(input_ids=ids.to(self.device), use_cache=False)[0]
            real = torch.arange(longest)[None] < torch.tensor([lengths[i] for i in batch])[:, None]
            yield batch, hidden, real.to(self.device)
            over += len(batch)
            self.told(over, len(rows))


class _Timed(Answer):
    """An answer, and when its first and last token came."""

    first = 0.0
    last = 0.0

    def take(self, token: Token) -> None:
        """Add one token."""
        Answer.take(self, token)
        self.last = time.perf_counter()
        self.first = self.first or self.last


def _cut(order: list[int], lengths: list[int], most_tokens: int) -> Iterator[list[int]]:
    """Cut an order of rising length into batches whose padded size stays within `most_tokens`."""
    batch: list[int] = []
    for i in order:
        if batch and lengths[i] * (len(batch) + 1) > most_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def end_ids(model: Any, config: Any) -> tuple[int, ...]:
    """End-of-text ids by the generation config, else by the model's config."""
    for source in (getattr(model, "generation_config", None), config):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return tuple(ids) if isinstance(ids, list | tuple) else (int(ids),)
    return ()
