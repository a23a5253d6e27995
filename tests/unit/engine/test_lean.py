"""Forwards written out: they give what the model's own layers give, and are used for no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from architectures import tiny
from torch import Tensor, nn

from bloomery.core.rows import TokenRow
from bloomery.engine import lean
from bloomery.engine.lean import Lean, lean_forward
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Completion, Sampling
from bloomery.engine.ragged import own_forward
from bloomery.models.load import Loaded

KNOWN = sorted(lean.KINDS)
OTHERS = ("gemma2", "gpt2", "granite", "phi3")
PROMPTS = [list(range(3, 3 + n)) for n in (1, 5, 17, 30)]


def answers(engine: NativeEngine, new: int = 8) -> list[Completion]:
    return engine.generate(PROMPTS, Sampling(new, temperature=1.0, seed=2, stop_ids=()))


def through_transformers(loaded: Loaded) -> NativeEngine:
    engine = NativeEngine(loaded)
    engine.forward = own_forward(engine.model)
    return engine


@pytest.mark.parametrize("architecture", KNOWN)
def test_a_known_decoder_answers_as_its_own_layers_do(architecture: str) -> None:
    engine = NativeEngine(tiny(architecture))
    assert isinstance(engine.forward, Lean)
    for got, want in zip(answers(engine), answers(through_transformers(tiny(architecture))), strict=True):
        assert got.ids == want.ids
        assert np.allclose(got.logprobs, want.logprobs, atol=1e-4)


@pytest.mark.parametrize("architecture", OTHERS)
def test_other_decoders_go_through_their_own_layers(architecture: str) -> None:
    engine = NativeEngine(tiny(architecture))
    assert engine.ragged and not isinstance(engine.forward, Lean)


def test_sixteen_bits_differ_by_rounding_alone() -> None:
    loaded = tiny("llama")
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.mul_(0.3)  # less chaotic than weights that are made to show a wrong mask
    loaded.model.bfloat16()
    engine = NativeEngine(loaded)
    assert isinstance(engine.forward, Lean)
    for prompt, answer in zip(
        PROMPTS, engine.generate(PROMPTS, Sampling(4, top_logprobs=20, stop_ids=())), strict=True
    ):
        with torch.no_grad():
            wanted = loaded.model(torch.tensor([[*prompt, *answer.ids]])).logits[0, len(prompt) - 1 :].float()
        for told, row in zip(answer.top, wanted.log_softmax(-1), strict=False):
            assert all(abs(logp - float(row[token])) < 0.05 for token, logp in told)


def test_answers_stay_right_while_their_rows_grow_wider() -> None:
    engine = NativeEngine(tiny("mistral"))
    asked = [PROMPTS[0], PROMPTS[3]]
    found = engine.generate(asked, Sampling(97, temperature=1.0, stop_ids=()))
    rows = [np.array([*prompt, *answer.ids], np.int32) for prompt, answer in zip(asked, found, strict=True)]
    scored = engine.score([TokenRow(row, {}, str(i), "s", "e") for i, row in enumerate(rows)])
    for prompt, answer, logp in zip(asked, found, scored, strict=True):
        assert np.allclose(answer.logprobs, logp[len(prompt) :], atol=1e-4)


def test_weights_that_change_in_place_are_seen() -> None:
    loaded = tiny("qwen3")
    engine = NativeEngine(loaded)
    before = answers(engine)
    with torch.no_grad():
        for layer in loaded.model.get_decoder().layers:  # type: ignore[operator]
            layer.self_attn.q_norm.weight.mul_(1.5)
            layer.mlp.up_proj.weight.mul_(0.5)
    after = answers(engine)
    assert [a.ids for a in before] != [a.ids for a in after]
    assert [a.ids for a in after] == [a.ids for a in answers(through_transformers(loaded))]


def test_a_decoder_with_a_layer_of_other_code_is_left_to_it() -> None:
    loaded = tiny("llama")
    feed: Any = loaded.model.get_decoder().layers[1].mlp  # type: ignore[operator]

    class Louder(type(feed)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = super().forward(x)
            return 2 * out

    feed.__class__ = Louder
    engine = NativeEngine(loaded)
    assert engine.ragged and not isinstance(engine.forward, Lean)
    assert lean_forward(engine.model) is None


def test_a_decoder_with_one_more_child_is_left_to_its_own_code() -> None:
    loaded = tiny("llama")
    loaded.model.get_decoder().layers[0].self_attn.q_norm = nn.Identity()  # type: ignore[operator]
    assert not isinstance(NativeEngine(loaded).forward, Lean)


@pytest.mark.parametrize("wrong", [lambda out: out * 1.001, lambda out: out[:, :0]])
def test_a_forward_that_gives_something_else_is_not_used(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = lean._feed
    monkeypatch.setattr(lean, "_feed", lambda layer, x: wrong(right(layer, x)))
    engine = NativeEngine(tiny("llama"))
    assert engine.ragged and not isinstance(engine.forward, Lean)
    assert [a.ids for a in answers(engine)] == [a.ids for a in answers(through_transformers(tiny("llama")))]
