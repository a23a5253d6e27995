"""Tiles, windows, caps and sinks: each kernel against the scores written out over the whole row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bloomery.models import attention, tiles
from bloomery.models.attention import band
from bloomery.models.backbone import bounds_of, positions_of
from bloomery.models.fuse import fuse, rms_norm
from bloomery.models.load import new_model

LENGTHS = (5, 40, 1, 130, 61)
LAYER = nn.Module()


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles a document, some kept and some computed again."""
    tiles._band.cache_clear()
    monkeypatch.setattr(tiles, "QUERIES", 32)
    monkeypatch.setattr(tiles, "KEPT", 64)


def heads(query_heads: int, key_heads: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(1, n, sum(LENGTHS), 8) for n in (query_heads, key_heads, key_heads)]
    return [torch.randn(s).to(dtype).requires_grad_() for s in shapes]


def whole_row(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    document = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    seen = (document[:, None] == document) & band(len(document), window, torch.device("cpu"))
    return F.scaled_dot_product_attention(query, key, value, seen, scale=0.4, enable_gqa=True).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 1, 7, 50])
@pytest.mark.parametrize(("query_heads", "key_heads"), [(4, 4), (4, 2), (6, 1)])
def test_tiles_give_the_outputs_and_gradients_of_one_masked_row(
    window: int | None, query_heads: int, key_heads: int
) -> None:
    inputs = heads(query_heads, key_heads, torch.float32)
    ours = tiles.tiled_attention(*inputs, bounds_of(LENGTHS), 0.4, window)
    theirs = whole_row(*inputs, window)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(ours)
    pairs = zip(torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream), strict=True)
    for x, y in pairs:
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_tiles_in_bf16_differ_by_rounding_only() -> None:
    inputs = heads(4, 2, torch.bfloat16)
    ours = tiles.tiled_attention(*inputs, bounds_of(LENGTHS), 0.4, None)
    exact = whole_row(*[x.detach().float() for x in inputs], None)
    assert ours.dtype == torch.bfloat16
    assert float((ours.detach().float() - exact).abs().max()) < 0.03


@pytest.mark.parametrize("window", [None, 7])
def test_documents_and_tiles_agree(window: int | None) -> None:
    inputs = heads(4, 2, torch.float32)
    features = attention.Features(0.4, 0.0, window, None, None)
    loop = attention._documents(*inputs, features, bounds_of(LENGTHS))
    torch.testing.assert_close(
        loop, tiles.tiled_attention(*inputs, bounds_of(LENGTHS), 0.4, window), rtol=1e-5, atol=1e-5
    )


def test_a_sink_takes_share_and_gives_nothing() -> None:
    query, key, value = heads(4, 2, torch.float32)
    bounds = bounds_of(LENGTHS)
    plain, _ = attention.attention(LAYER, query, key, value, None, bounds=bounds)
    shut, _ = attention.attention(LAYER, query, key, value, None, bounds=bounds, s_aux=torch.full((4,), -1e9))
    torch.testing.assert_close(plain, shut, rtol=1e-5, atol=1e-5)
    open_, _ = attention.attention(LAYER, query, key, value, None, bounds=bounds, s_aux=torch.full((4,), 30.0))
    assert float(open_.detach().abs().max()) < 1e-6


def test_without_bounds_a_row_is_one_document_and_a_mask_decides_alone() -> None:
    query, key, value = heads(4, 4, torch.float32)
    length = query.shape[2]
    causal = band(length, None, torch.device("cpu"))
    plain, _ = attention.attention(LAYER, query, key, value, None)
    masked, _ = attention.attention(LAYER, query, key, value, causal[None, None])
    torch.testing.assert_close(plain, masked, rtol=1e-5, atol=1e-5)


def test_the_mask_is_left_out_only_where_nothing_is_hidden() -> None:
    assert attention.mask(q_length=4, kv_length=4) is None


def test_a_model_generates_with_a_cache_under_the_registered_attention() -> None:
    settings = {"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2}
    model = new_model({**settings, "num_attention_heads": 2, "initializer_range": 0.5}, 0).model.eval()
    ids = torch.randint(3, 40, (1, 6), generator=torch.Generator().manual_seed(0))
    ours = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    model.set_attn_implementation("eager")
    assert torch.equal(ours, model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0))


def test_positions_start_again_with_each_document() -> None:
    assert bounds_of((3, 2)) == (0, 3, 5)
    assert positions_of((0, 3, 5)).tolist() == [[0, 1, 2, 0, 1]]


def test_the_fused_norm_has_the_outputs_and_gradients_of_the_original() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 9, 16, requires_grad=True), torch.randn(16, requires_grad=True)
    wanted = weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
    got = rms_norm(x, weight, 1e-6)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(got)
    pairs = zip(
        torch.autograd.grad(got, (x, weight), upstream), torch.autograd.grad(wanted, (x, weight), upstream), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_only_norms_that_we_know_are_fused() -> None:
    settings = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = new_model({"model_type": "llama", **settings}, 0, check=False).model
    assert all("_norm_forward" in type(m).forward.__name__ for m in llama.modules() if "RMSNorm" in type(m).__name__)
    assert fuse(new_model({"model_type": "olmo2", **settings, "pad_token_id": 0}, 0, check=False).model) == 0
