"""Copies of weights for faster products: they give what the weights give, whatever changes these."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from architectures import tiny
from torch import Tensor, nn
from torch.nn import functional as F

from bloomery.engine.native import NativeEngine
from bloomery.engine.packed import Packed, install, joint, product_for, swish
from bloomery.engine.protocol import Sampling

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def packed(dtype: torch.dtype, room: int = 1 << 20) -> Packed:
    made = product_for(torch.zeros(2, 2, dtype=dtype))
    if not isinstance(made, Packed):
        pytest.skip("no such copies on this machine")
    made.room = room
    return made


def close(product: Packed, weight: Tensor, bias: Tensor | None = None, rows: int = 5) -> None:
    x = torch.randn(rows, weight.shape[1], dtype=weight.dtype)
    with torch.inference_mode():
        got, want = product(x, weight, bias), F.linear(x, weight, bias)
    assert (got - want).abs().max() <= TOLERANCE[weight.dtype] * want.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(7, 5), (96, 64), (64, 176), (1000, 600)])
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_a_copy_multiplies_as_the_weight_does(dtype: torch.dtype, shape: tuple[int, int], rows: int) -> None:
    product, weight = packed(dtype), torch.randn(shape, dtype=dtype)
    close(product, weight, rows=rows)
    close(product, weight, torch.randn(shape[0], dtype=dtype), rows)


def by_optimiser(weight: nn.Parameter, fused: bool) -> None:
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=0.5, fused=fused).step()


@torch.no_grad()
def in_place(weight: nn.Parameter) -> None:
    weight.add_(1)


def of_other_data(weight: nn.Parameter) -> None:
    weight.data = weight.data + 1


def of_other_data_in_the_same_place(weight: nn.Parameter) -> None:
    weight.data = weight.data.bfloat16()
    weight.data = weight.data.float()  # takes the memory that the first data left, if nobody holds it


CHANGES: dict[str, Callable[[nn.Parameter], None]] = {
    "fused": lambda weight: by_optimiser(weight, True),
    "each": lambda weight: by_optimiser(weight, False),
    "in place": in_place,
    "other data": of_other_data,
    "other data in the same place": of_other_data_in_the_same_place,
    "several at once": lambda weight: torch._foreach_copy_([weight.detach()], [torch.ones_like(weight)]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_that_changed_is_copied_again(change: str) -> None:
    product, weight = packed(torch.float32), nn.Parameter(torch.randn(48, 32))
    close(product, weight)
    before = weight.detach().clone()
    CHANGES[change](weight)
    assert not torch.equal(before, weight)
    close(product, weight)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("biased", [False, True])
def test_several_weights_multiply_as_one(dtype: torch.dtype, biased: bool) -> None:
    product, x = packed(dtype), torch.randn(5, 32, dtype=dtype)
    weights = tuple(torch.randn(rows, 32, dtype=dtype) for rows in (48, 16, 16))
    biases = [torch.randn(len(weight), dtype=dtype) if biased else None for weight in weights]
    for _ in range(2):  # as they are first, and once one of them has changed
        with torch.inference_mode():
            got = product.joint(x, weights, biases)
            want = torch.cat([F.linear(x, *one) for one in zip(weights, biases, strict=True)], -1)
        assert got is not None and (got - want).abs().max() <= TOLERANCE[dtype] * want.abs().max()
        weights[1].add_(1)
    assert len(product._copies) == 1
    assert product.joint(x, weights, [torch.zeros(48, dtype=dtype), None, None]) is None
    assert packed(torch.float32, room=0).joint(x.float(), tuple(w.float() for w in weights), [None] * 3) is None


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("room", [0, 1 << 20])
def test_a_function_that_follows_is_the_same_with_a_copy_and_without(dtype: torch.dtype, room: int) -> None:
    product, x, weight = packed(dtype, room), torch.randn(5, 32, dtype=dtype), torch.randn(48, 32, dtype=dtype)
    with torch.inference_mode():
        got, want = product(x, weight, None, "swish"), F.silu(F.linear(x, weight))
    assert (got - want).abs().max() <= TOLERANCE[dtype] * want.abs().max()


def test_a_layer_that_is_watched_does_not_lend_its_copies() -> None:
    layer, other, bare, x = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), torch.randn(3, 8)
    install(layer, packed(torch.float32))
    install(other, packed(torch.float32))
    with torch.inference_mode():
        assert joint([layer, layer], x) is not None and swish(layer, x) is not None
        assert joint([layer, bare], x) is None and swish(bare, x) is None
        assert joint([layer, other], x) is None
        layer.register_forward_hook(lambda *_: None)
        assert joint([layer, layer], x) is None and swish(layer, x) is None


def test_weights_for_which_there_is_no_room_are_read_where_they_are() -> None:
    product = packed(torch.float32, room=96 * 64 * 4)
    first, second = torch.randn(96, 64), torch.randn(8, 64)
    close(product, first)
    close(product, second)
    first.add_(1)
    close(product, first)  # what has a copy has one after a change, too
    assert [copy is not None for *_, copy in product._copies.values()] == [True, False]


def test_what_is_smaller_than_the_room_that_is_left_gets_a_copy() -> None:
    product = packed(torch.float32, room=8 * 64 * 4)
    close(product, torch.randn(96, 64))
    close(product, torch.randn(8, 64))
    assert [copy is not None for *_, copy in product._copies.values()] == [False, True] and product.room == 0


def test_layers_in_adapters_use_copies_and_others_see_gradients() -> None:
    inner = nn.Linear(24, 40)
    model = nn.Sequential(nn.Sequential(inner), nn.Linear(40, 8, bias=False)).eval()
    x = torch.randn(3, 5, 24)
    want, product = model(x).detach(), packed(torch.float32)
    install(model, product)
    with torch.inference_mode():
        assert torch.allclose(model(x), want, atol=1e-5) and len(product._copies) == 2
        assert model(x[:0]).shape == (0, 5, 8)
    model(x).sum().backward()
    assert inner.weight.grad is not None


def test_an_engine_answers_with_the_weights_of_the_moment() -> None:
    loaded, sampling = tiny("llama"), Sampling(6, stop_ids=())
    engine, prompts = NativeEngine(loaded), [[3, 4, 5], [6, 7]]
    engine.generate(prompts, sampling)
    optimiser = torch.optim.AdamW(loaded.model.parameters(), lr=0.05, fused=True)
    for parameter in loaded.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    got, want = engine.generate(prompts, sampling), NativeEngine(loaded).generate(prompts, sampling)
    assert [(one.ids, one.logprobs.tolist()) for one in got] == [(one.ids, one.logprobs.tolist()) for one in want]
