"""The engine in this process: batched generation over a transformers causal LM, and scoring in one forward."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bloomery.core.errors import InputError
from bloomery.core.rows import Floats, TokenRow
from bloomery.engine.decoder import CachedDecoder, Decoder, PlainDecoder, cache_agrees, decoding_twin
from bloomery.engine.protocol import Completion, Sampling
from bloomery.engine.sampler import choose
from bloomery.models.head import token_logprobs
from bloomery.models.load import Loaded

BATCH_ROWS = {"cpu": 64, "cuda": 256}
"""Rows answered at once, by device: a CPU thread gives 1,630 tokens/s at 64 and 1,200 at 128 (ember, 20 new tokens)."""
BATCH_TOKENS = 32_768
"""Most tokens whose keys and values a generation batch holds."""
SCORE_TOKENS = {"cpu": 2048, "cuda": 16_384}
"""Most tokens in one scoring forward, by device: a CPU does 7,000 tokens/s at 2,048 and 5,000 at 8,192 (ember)."""
COMPACT_AT = 1 / 8
"""Finished rows leave the batch once they are this share of it: leaving copies the cache, staying costs arithmetic."""


class NativeEngine:
    """Answers and scores with the weights of `loaded`, shared with whoever trains them."""

    def __init__(self, loaded: Loaded, *, batch_rows: int | None = None, batch_tokens: int = BATCH_TOKENS) -> None:
        self.model, self.head = decoding_twin(loaded.model), loaded.head
        self.device = next(self.model.parameters()).device
        self.batch_rows = batch_rows or BATCH_ROWS.get(self.device.type, BATCH_ROWS["cuda"])
        self.batch_tokens = batch_tokens
        self.cached = cache_agrees(self.model)
        config: Any = loaded.config
        self._context = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self.stop_ids = _end_ids(self.model, config)

    @property
    def context(self) -> int:
        """Most tokens a row, or a prompt with its answer, may have."""
        return self._context

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One answer for each prompt, in order; an answer is cut where the context ends.

        Raises `InputError` for a prompt that is empty or leaves no room for an answer.
        """
        for number, prompt in enumerate(prompts):
            if not 0 < len(prompt) < self.context:
                raise InputError(
                    f"prompt {number} has {len(prompt):,} tokens; the context holds {self.context:,} with the answer",
                    fix="shorten the prompt" if len(prompt) else "give it at least one token",
                )
        answers: dict[int, Completion] = {}
        for batch in self._batches([len(p) for p in prompts], sampling.max_new_tokens):
            answers.update(self._answer([prompts[i] for i in batch], np.array(batch), sampling))
        return [answers[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def score(self, rows: Sequence[TokenRow]) -> list[Floats]:
        """float32[T] for each row, in order: log-probability of `ids[t]` given `ids[:t]`; 0 at t = 0."""
        for row in rows:
            if not 0 < len(row) <= self.context:
                raise InputError(f"row `{row.row_id}` has {len(row):,} tokens; the context holds 1 to {self.context:,}")
        found: dict[int, Floats] = {}
        most = min(SCORE_TOKENS.get(self.device.type, SCORE_TOKENS["cuda"]), self.batch_tokens)
        lengths = [len(row) for row in rows]
        for batch in _cut(sorted(range(len(rows)), key=lengths.__getitem__), lengths, 0, 4096, most):
            found.update(zip(batch, self._score_batch([rows[i] for i in batch]), strict=True))
        return [found[i] for i in range(len(rows))]

    def _batches(self, lengths: list[int], room: int) -> Iterator[list[int]]:
        """Prompt numbers, longest first so that memory runs out at once or never; without a cache, of one length."""
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        for batch in _cut(order, lengths, room, self.batch_rows, self.batch_tokens):
            if self.cached:
                yield batch
            else:
                yield from ([i for i in batch if lengths[i] == n] for n in sorted({lengths[i] for i in batch}))

    def _answer(self, prompts: list[Sequence[int]], numbers: Any, sampling: Sampling) -> dict[int, Completion]:
        """Answers of one batch by prompt number."""
        began = time.perf_counter()
        limits = np.array([min(sampling.max_new_tokens, self.context - len(p)) for p in prompts])
        stops = torch.tensor(self.stop_ids if sampling.stop_ids is None else sampling.stop_ids, dtype=torch.long)
        stops = stops.to(self.device)
        decoder: Decoder = CachedDecoder(self.model) if self.cached else PlainDecoder(self.model)
        logits = decoder.start(prompts, int(limits.max()))
        live = np.arange(len(prompts))  # batch row of each row still in the decoder
        tape = _Tape(len(prompts), int(limits.max()))
        for step in range(int(limits.max())):
            token, logp = choose(logits, sampling, numbers[live], step)
            stopped = torch.isin(token, stops).cpu().numpy()
            tape.write(live, step, token, logp, stopped, limits, time.perf_counter() - began)
            open_rows = tape.length[live] == 0
            if not open_rows.any():
                break
            if open_rows.mean() <= 1 - COMPACT_AT:
                kept = torch.from_numpy(np.flatnonzero(open_rows)).to(self.device)
                decoder.keep(kept)
                live, token = live[open_rows], token[kept]
            logits = decoder.advance(token)
        return {int(n): tape.completion(row) for row, n in enumerate(numbers)}

    def _score_batch(self, rows: list[TokenRow]) -> list[Floats]:
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.from_numpy(row.ids)
        ids = ids.to(self.device)
        # Padding stands on the right, where causal attention never looks: no mask is needed.
        decoder: Any = self.model.get_decoder()  # type: ignore[operator]
        hidden = decoder(input_ids=ids, use_cache=False)[0]
        real = torch.arange(longest)[None, 1:] < torch.tensor([len(row) for row in rows])[:, None]
        real = real.to(self.device)
        logp, _ = token_logprobs(hidden[:, :-1][real], self.head, ids[:, 1:][real])
        pieces = logp.float().cpu().split([len(row) - 1 for row in rows])
        return [np.concatenate([np.zeros(1, np.float32), piece.numpy()]) for piece in pieces]


class _Tape:
    """What a batch has sampled: tokens, log-probabilities, lengths (0 while a row is open), reasons and times."""

    def __init__(self, rows: int, width: int) -> None:
        self.ids = np.zeros((rows, width), np.int64)
        self.logp = np.zeros((rows, width), np.float32)
        self.length = np.zeros(rows, np.int64)
        self.stopped = np.zeros(rows, bool)
        self.seconds = np.zeros(rows)

    def write(
        self, live: Any, step: int, token: Tensor, logp: Tensor, stopped: Any, limits: Any, seconds: float
    ) -> None:
        """Record one token for each open row in `live`; close those that stopped or reached their limit."""
        open_rows = self.length[live] == 0
        rows = live[open_rows]
        self.ids[rows, step] = token.cpu().numpy()[open_rows]
        self.logp[rows, step] = logp.cpu().numpy()[open_rows]
        done = stopped[open_rows] | (step + 1 >= limits[rows])
        self.stopped[rows] = stopped[open_rows]
        self.length[rows[done]], self.seconds[rows[done]] = step + 1, seconds

    def completion(self, row: int) -> Completion:
        """The finished answer of a row."""
        n = int(self.length[row])
        reason: Any = "stop" if self.stopped[row] else "length"
        return Completion(
            tuple(self.ids[row, :n].tolist()), self.logp[row, :n].copy(), reason, float(self.seconds[row])
        )


def _cut(order: list[int], lengths: list[int], room: int, most_rows: int, most_tokens: int) -> Iterator[list[int]]:
    """Cut an order into batches of at most `most_rows` rows whose padded size stays within `most_tokens`."""
    batch: list[int] = []
    longest = 0
    for i in order:
        grown = max(longest, lengths[i] + room)
        if batch and (len(batch) == most_rows or grown * (len(batch) + 1) > most_tokens):
            yield batch
            batch, grown = [], lengths[i] + room
        batch.append(i)
        longest = grown
    if batch:
        yield batch


def _end_ids(model: Any, config: Any) -> tuple[int, ...]:
    """End-of-text ids by the generation config, else by the model's config."""
    for source in (getattr(model, "generation_config", None), config):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return tuple(ids) if isinstance(ids, list | tuple) else (int(ids),)
    return ()
