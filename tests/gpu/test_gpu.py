"""What only a GPU can show. Skipped elsewhere; not yet run on one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toys import ToySource, toy_config, toy_job, toy_model, toy_rows

from bloomery.core.events import read_events
from bloomery.engine.native import NativeEngine
from bloomery.models import attention
from bloomery.models.backbone import bounds_of
from bloomery.models.varlen import device_bounds
from bloomery.recipes.memory import shape_of, training_bytes
from bloomery.train.loop import train
from bloomery.train.parallel import join_world, pick_device

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
LENGTHS = (5, 40, 1, 300, 82)


def heads(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    made = [torch.randn(1, n, sum(LENGTHS), 64, device="cuda", dtype=dtype) for n in (4, 2, 2)]
    return [x.requires_grad_() for x in made]


def each_alone(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """fp32 attention, document by document: [1, T, G, D]."""
    outs = []
    for start, end in pairwise(bounds_of(LENGTHS)):
        q, k, v = (x[:, :, start:end].float() for x in (query, key, value))
        seen = attention.band(end - start, window, q.device)
        outs.append(F.scaled_dot_product_attention(q, k, v, seen, scale=0.1, enable_gqa=True).transpose(1, 2))
    return torch.cat(outs, 1)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_kernel_for_a_row_gives_outputs_and_gradients_of_each_document(
    dtype: torch.dtype, window: int | None
) -> None:
    inputs, bounds = heads(dtype), device_bounds(bounds_of(LENGTHS), torch.device("cuda"))
    call = torch.compile(attention.attention)
    got = call(nn.Module(), *inputs, None, bounds=bounds, scaling=0.1, sliding_window=window)[0]
    wanted = each_alone(*inputs, window)
    close: dict[str, Any] = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-2, "atol": 1e-2}
    torch.testing.assert_close(got.float(), wanted, **close)
    upstream = torch.randn_like(wanted)
    pairs = zip(torch.autograd.grad(got, inputs, upstream.to(dtype)), torch.autograd.grad(wanted, inputs, upstream),
                strict=True)  # fmt: skip
    for mine, theirs in pairs:
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0.1, atol=0.1)


def test_the_curve_on_a_gpu_is_that_of_the_cpu(tmp_path: Path) -> None:
    curves = []
    for device in ("cpu", "cuda"):
        world = join_world(device)
        loaded = toy_model(hidden_size=128, intermediate_size=256)
        loaded.model.to(world.device)
        train(toy_job(tmp_path / device, toy_config(12), loaded=loaded, source=ToySource(), world=world))
        curves.append([event["loss"] for event in read_events(tmp_path / device / "events.jsonl", "step")])
    assert curves[1] == pytest.approx(curves[0], rel=2e-2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_predicted_memory_is_within_a_quarter_of_the_measured_peak(tmp_path: Path, checkpointing: bool) -> None:
    changes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "vocab_size": 32000}
    loaded, world = toy_model(**changes, max_position_embeddings=1024), join_world("cuda")
    torch.cuda.reset_peak_memory_stats()
    config = toy_config(3, precision="bf16", micro_tokens=8192, activation_checkpointing=checkpointing)
    train(toy_job(tmp_path, config, loaded=loaded, source=LongRows(), world=world))
    shape = shape_of(loaded.config.to_dict())
    assert shape is not None
    need = training_bytes(shape, 8192, bf16=True, checkpointing=checkpointing)
    assert need.total == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.25)


def test_scores_on_a_gpu_are_those_of_the_cpu() -> None:
    scores = []
    for device in ("cpu", "cuda"):
        loaded = toy_model(hidden_size=128, intermediate_size=256)
        loaded.model.to(pick_device(device))
        scores.append(np.concatenate(NativeEngine(loaded).score(toy_rows(0))))
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)


class LongRows(ToySource):
    """Two micro-batches of 8,192 tokens a step."""

    def steps(self, first: int, last: int) -> Any:
        from toys import toy_row

        from bloomery.train.job import StepRows

        for step in range(first, last):
            yield StepRows(step, [toy_row(f"{step}.{i}", 1024, i) for i in range(16)], 0.0, {"next": step + 1})
