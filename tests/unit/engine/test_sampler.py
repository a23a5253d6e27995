"""Draws against the distribution they are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Sampling
from bloomery.engine.sampler import bias_of, choose, penalise

DRAWS = 4000


def drawn(probabilities: list[float], **options: float) -> torch.Tensor:
    """Share of draws that fell on each token."""
    logits = torch.tensor([probabilities]).log().repeat(DRAWS, 1)
    sampling = Sampling(temperature=1.0, **options)  # type: ignore[arg-type]
    token, _ = choose(logits, [sampling] * DRAWS, np.arange(DRAWS), np.zeros(DRAWS, np.int64))
    return torch.bincount(token, minlength=len(probabilities)) / DRAWS


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 2}, [0.4, 0.3, 0, 0]),
        ({"min_p": 0.45}, [0.4, 0.3, 0.2, 0]),
        ({"top_p": 0.69}, [0.4, 0.3, 0, 0]),
        ({"top_p": 0.71}, [0.4, 0.3, 0.2, 0]),
        ({"top_k": 3, "top_p": 0.5, "min_p": 0.01}, [0.4, 0.3, 0, 0]),
    ],
)
def test_draws_follow_what_is_left_of_the_distribution(options: dict[str, float], left: list[float]) -> None:
    want = torch.tensor(left) / sum(left)
    got = drawn([0.4, 0.3, 0.2, 0.1], **options)
    assert torch.allclose(got, want, atol=0.03)
    assert bool((got[want == 0] == 0).all())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 700), st.integers(0, 10_000), st.sampled_from([{}, {"top_p": 0.9}, {"top_k": 100}, {"min_p": 0.1}])
)
def test_only_tokens_that_may_come_are_drawn(width: int, seed: int, options: dict[str, float]) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, width, generator=draw) * 3
    barred = torch.rand(16, width, generator=draw) < 0.5
    barred[:, seed % width] = False
    logits[barred] = -torch.inf
    sampling = Sampling(temperature=1.0, seed=seed, **options)  # type: ignore[arg-type]
    token, logp = choose(logits, [sampling] * 16, np.arange(16), np.full(16, 3))
    assert not bool(barred.gather(1, token[:, None]).any())
    assert torch.allclose(logp, logits.log_softmax(-1).gather(1, token[:, None])[:, 0], atol=1e-5)


def test_more_than_the_looked_at_head_may_be_left() -> None:
    share = drawn([1 / 300] * 300, top_p=0.999)
    assert int((share > 0).sum()) == 300


def test_penalties_and_bias_are_openais_and_ctrls() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0, 0.5])
    sampling = Sampling(
        presence_penalty=0.5, frequency_penalty=0.25, repetition_penalty=2.0, logit_bias=((3, 1.5), (0, -1.0))
    )
    penalise(logits, sampling, torch.tensor([1]), torch.tensor([2, 2]))
    bias = bias_of(sampling)
    assert bias is not None and bias_of(Sampling()) is None
    logits.index_add_(0, *bias)
    assert torch.allclose(logits, torch.tensor([1.0, -4.0, 0.5 - 0.5 - 0.5, 2.0]))


@pytest.mark.parametrize("temperature", [1e-320, 1e-44, 1e-38, 1e-30, 1e-9])
def test_however_cold_it_is_the_likeliest_token_is_drawn(temperature: float) -> None:
    logits = torch.tensor([[1.0, 40.0, -torch.inf, 39.0]])
    token, logprob = choose(logits, [Sampling(temperature=temperature)], np.zeros(1, np.int64), np.zeros(1, np.int64))
    assert (token.item(), logprob.item()) == (1, 0)


def test_a_penalty_so_small_that_logits_overflow_is_refused() -> None:
    with pytest.raises(InputError, match="repetition_penalty: 1e-38"):
        Sampling(repetition_penalty=1e-38)
