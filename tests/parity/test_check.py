"""The check at load catches what it is there for: a broken attention, a dropped scale, cap, window or sink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from architectures import tiny
from torch import Tensor, nn

from bloomery.core.errors import InputError
from bloomery.models import attention, parity
from bloomery.models.head import Head


def without(feature: str) -> Callable[..., Any]:
    """The registered attention with one of its arguments dropped."""

    def broken(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        kwargs.pop(feature, None)
        return attention.attention(*args, **kwargs)

    return broken


@pytest.mark.parametrize(
    ("architecture", "feature"),
    [
        ("llama", "bounds"),
        ("gemma2", "softcap"),
        ("mistral", "sliding_window"),
        ("gpt_oss", "s_aux"),
        ("granite", "scaling"),
    ],
)
def test_an_attention_that_drops_a_feature_is_not_used(
    architecture: str, feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny(architecture)
    assert loaded.packing == "packed"
    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, without(feature))
    verdict = parity.check(loaded.model, loaded.head)
    assert verdict.packing == "padded"
    assert "logits differ" in verdict.why


@pytest.mark.parametrize("factor", [2.0, 0.9])
def test_a_dropped_logit_scale_is_found_and_measured(factor: float) -> None:
    loaded = tiny("granite")
    wrong = replace(loaded.head, scale=loaded.head.scale * factor)
    with torch.no_grad():
        document = parity.sample_documents(loaded.model)[1]
        parity.use_attention(loaded.model, "eager")
        reference = loaded.model(input_ids=document).logits[0]
        hidden = loaded.model.get_decoder()(input_ids=document)[0][0]
    assert parity.difference([parity.logits(hidden, wrong).detach()], [reference])
    assert parity.check(loaded.model, wrong).head.scale == pytest.approx(1 / 3, rel=1e-5)


def test_a_dropped_final_softcap_is_refused() -> None:
    loaded = tiny("gemma2")
    with pytest.raises(InputError, match="no scaled and capped linear map"):
        parity.check(loaded.model, replace(loaded.head, softcap=None))


def test_a_head_that_is_no_linear_map_is_refused() -> None:
    loaded = tiny("llama")
    original = type(loaded.model).forward

    class Odd(type(loaded.model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = original(self, *args, **kwargs)
            out.logits = out.logits.abs()
            return out

    loaded.model.__class__ = Odd
    with pytest.raises(InputError, match="no scaled and capped linear map"):
        parity.check(loaded.model, loaded.head)


def test_the_check_leaves_windows_mode_and_weights_as_they_were() -> None:
    loaded = tiny("mistral", check=False)
    loaded.model.train()
    before = {n: p.clone() for n, p in loaded.model.named_parameters()}
    parity.check(loaded.model, loaded.head)
    assert loaded.model.training
    assert loaded.model.config.sliding_window == 6
    assert all(torch.equal(p, before[n]) for n, p in loaded.model.named_parameters())


def test_a_model_in_bf16_passes_too() -> None:
    loaded = tiny("llama", check=False)
    assert parity.check(loaded.model.bfloat16(), loaded.head).packing == "packed"


def test_a_fused_norm_that_computes_something_else_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("llama", check=False)

    def wrong(self: Any, hidden_states: Tensor) -> Tensor:
        return hidden_states * self.weight

    def fuse(model: nn.Module) -> int:
        for module in model.modules():
            if type(module).__name__ == "LlamaRMSNorm":
                module.__class__ = type("LlamaRMSNorm", (type(module),), {"forward": wrong})
        return 1

    monkeypatch.setattr(parity, "fuse", fuse)
    with pytest.raises(InputError, match="neither packed nor padded"):
        parity.check(loaded.model, Head(loaded.head.linear))
