"""Answers of the native engine against transformers' `generate`, token for token, by architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from architectures import PACKED, PADDED, tiny
from engines import answered

from bloomery.core.rows import TokenRow
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Request, Sampling
from bloomery.engine.ragged import Prefill
from bloomery.models.load import Loaded

PROMPTS, NEW = 50, 6
SHARED = sorted(set(PACKED) - {"qwen3_moe", "gpt_oss"})
"""Experts are chosen by rounding where two are close, so mixtures are compared by log-probability below."""


def prompts(count: int) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(3, 97, draw.integers(1, 40)).tolist() for _ in range(count)]


def greedy(loaded: Loaded, asked: list[list[int]]) -> list[tuple[int, ...]]:
    """transformers' own answers, prompts of one length at a time, so that nothing is padded."""
    found: dict[int, tuple[int, ...]] = {}
    for length in {len(prompt) for prompt in asked}:
        rows = [i for i, prompt in enumerate(asked) if len(prompt) == length]
        ids = torch.tensor([asked[i] for i in rows])
        out = loaded.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
        for i, answer in zip(rows, out[:, length:].tolist(), strict=True):
            end = answer.index(2) + 1 if 2 in answer else NEW
            found[i] = tuple(answer[:end])
    return [found[i] for i in range(len(asked))]


@pytest.mark.parametrize("architecture", SHARED)
def test_greedy_answers_equal_transformers_token_for_token(architecture: str) -> None:
    loaded, asked = tiny(architecture), prompts(PROMPTS)
    engine = NativeEngine(loaded)
    assert engine.ragged
    answers = engine.generate(asked, Sampling(max_new_tokens=NEW, stop_ids=(2,)))
    assert [answer.ids for answer in answers] == greedy(loaded, asked)


@pytest.mark.parametrize("architecture", sorted(PADDED))
def test_architectures_of_another_kind_answer_in_padded_batches(architecture: str) -> None:
    loaded, asked = tiny(architecture), prompts(4)
    engine = NativeEngine(loaded)
    answers = engine.generate(asked, Sampling(max_new_tokens=NEW, stop_ids=(2,)))
    assert [answer.ids for answer in answers] == greedy(loaded, asked)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_oss", "qwen3_moe"])
def test_sampled_logprobs_equal_a_forward_over_the_whole_row(architecture: str) -> None:
    loaded, asked = tiny(architecture), prompts(12)
    engine = NativeEngine(loaded)
    answers = engine.generate(asked, Sampling(max_new_tokens=NEW, temperature=1.0, top_p=0.9, seed=1))
    rows = [np.array([*prompt, *answer.ids], np.int32) for prompt, answer in zip(asked, answers, strict=True)]
    scored = engine.score([TokenRow(row, {}, str(i), "s", "e") for i, row in enumerate(rows)])
    for prompt, answer, logp in zip(asked, answers, scored, strict=True):
        assert np.allclose(answer.logprobs, logp[len(prompt) :], atol=1e-4)


@pytest.mark.parametrize("architecture", sorted(PACKED))
def test_prompts_of_one_length_are_read_as_one_and_answered_as_each_alone(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, sizes = NativeEngine(tiny(architecture)), list[int]()
    attend = Prefill.attend

    def watched(part: Prefill, *given: Any) -> torch.Tensor:
        sizes.append(len(part.slots))
        return attend(part, *given)

    monkeypatch.setattr(Prefill, "attend", watched)
    lengths = [7] * 3 + [9] * 4 + [7] + [1] * 2  # in steps of 24 tokens, some of which end within a prompt
    draw = np.random.default_rng(0)
    prompts = [draw.integers(3, 60, length).tolist() for length in lengths]
    scheduler = engine.scheduler()
    scheduler.backend.chunk = 24  # type: ignore[attr-defined]
    sampling = Sampling(6, stop_ids=())
    together = answered(engine, [Request(prompt, sampling) for prompt in prompts], scheduler)
    assert not engine.ragged or max(sizes) >= 2
    for prompt, got in zip(prompts, together, strict=True):
        want = engine.generate([prompt], sampling)[0]
        assert got.ids == list(want.ids) and np.allclose(got.logprobs, want.logprobs, atol=1e-4)
