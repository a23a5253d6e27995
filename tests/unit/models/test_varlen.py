"""Bounds as tensors: kernels for GPU that also run on CPU give what the CPU's own give; nothing is recompiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from bloomery.models import attention
from bloomery.models.backbone import bounds_of, positions_of
from bloomery.models.load import new_model
from bloomery.models.varlen import device_bounds

CPU = torch.device("cpu")
LENGTHS = (5, 40, 1, 17)
TINY = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def heads() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, n, sum(LENGTHS), 16) for n in (4, 2, 2)]


@pytest.mark.parametrize(
    "features",
    [{}, {"sliding_window": 7}, {"softcap": 1.5}, {"sliding_window": 7, "s_aux": torch.tensor([0.5, -1.0, 2.0, 0.0])}],
)
def test_flex_attention_gives_what_each_document_gets_on_cpu(features: dict[str, Any]) -> None:
    bounds = bounds_of(LENGTHS)
    wanted, got = (
        attention.attention(nn.Module(), *heads(), None, bounds=b, scaling=0.4, **features)[0]
        for b in (bounds, device_bounds(bounds, CPU))
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_sizes_of_bounds_repeat() -> None:
    few, more = (device_bounds(bounds_of(lengths), CPU) for lengths in ((9, 3, 20), (16, 1, 2, 30)))
    assert few.starts.tolist() == [0, 9, 12, 32, 32] and few.starts.dtype == torch.int32
    assert few.starts.shape == more.starts.shape and few.longest == more.longest == 32
    assert few.documents.tolist() == [0] * 9 + [1] * 3 + [2] * 20


def test_a_compiled_block_serves_every_set_of_bounds() -> None:
    model = new_model({"model_type": "llama", "num_key_value_heads": 2, **TINY}, 0, check=False).model
    decoder: Any = model.get_decoder()  # type: ignore[operator]
    compiled = CompileCounter()
    for block in decoder.layers:
        block.compile(backend=compiled, fullgraph=True)
    with torch.no_grad():
        for lengths in ((20, 9, 3), (2, 28, 2), (1, 11, 17, 3), (25, 2, 5)):
            bounds = bounds_of(lengths)
            ids = torch.arange(32)[None]
            packed = device_bounds(bounds, CPU)
            decoder(input_ids=ids, position_ids=positions_of(bounds), bounds=packed, use_cache=False)
    assert compiled.frame_count == 1
